"""The durable log of events: what is acknowledged is here, in an order, until it is stored."""

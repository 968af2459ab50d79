"""The steps from an empty database to the tables of `billing.stores.models`, each done once."""

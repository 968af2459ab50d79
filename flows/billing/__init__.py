"""The billing dataflow: usage rows in; charges, wallet deductions, alerts and invoice lines out.

read → shard by customer → charge → hand over

`metered` runs it once over what is stored (`tally bill`), `live` for as long as a process lives.
"""

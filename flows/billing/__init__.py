"""The billing dataflow: usage rows in; charges, wallet deductions, alerts and invoice lines out.

read → shard by customer → charge → hand over
"""

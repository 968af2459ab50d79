"""Invoices: drafted, discounted, taxed, finalized, paid, corrected and voided."""

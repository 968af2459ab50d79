"""Wallets: the ledger, its lots and balances, what invoices take and what grants give."""

"""Custody of Ethereum wallets in front of AWS KMS and PostgreSQL."""

__version__ = "0.1.0"

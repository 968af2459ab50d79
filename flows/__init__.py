"""The outer ring: dataflows, connectors, command line and settings."""

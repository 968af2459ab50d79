"""What operators watch: the series of platform.md 8, who feeds them, and how they are shown."""

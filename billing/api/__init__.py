"""The HTTP application: what comes over the wire, who may ask, and how answers are written.

`build_app` makes it from `Services`; nothing here knows how events are kept or usage is computed.
"""

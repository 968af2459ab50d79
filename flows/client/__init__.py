"""The client's side: files sent to an instance, and its usage read back, over HTTP or in its folder.

`lines` takes files apart, `sending` and `appending` are where records go, `ingesting` drives them and
`journal` remembers how far a file has come. `instance` speaks HTTP, `readings` asks for usage, and
`sparkline` draws it.
"""

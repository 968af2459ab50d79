"""Which URLs messages may go to: https, and no address that only this network can reach.

A name is judged twice: at the door by its spelling, and at each attempt by every address that it
resolves to (platform.md 12).
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from pydantic import AnyUrl, TypeAdapter, ValidationError

from schemas.errors import ValidationFailed

URL_CHARACTERS_MAX = 2048
# Names that resolvers answer with addresses of this machine or network.
PRIVATE_NAMES = ("localhost", "local", "internal", "localdomain", "home.arpa")
# IPv6 addresses that carry one of IPv4, which a gateway may reach.
TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))

_URL: TypeAdapter[AnyUrl] = TypeAdapter(AnyUrl)

Address = IPv4Address | IPv6Address


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the open internet.

    Those that wrap an address of IPv4 are judged by that one.

    >>> [is_public(ip_address(text)) for text in ("8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1")]
    [True, False, False]
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            return False
        if inner is None and any(address in network for network in TRANSLATED):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved)


def checked_url(text: str, *, allow_private: bool) -> str:
    """Return a URL that an endpoint may have, as it was given without spaces around it.

    `allow_private` is for development: it allows http, and private addresses. Raises
    ValidationFailed (field `url`).

    >>> checked_url(" https://example.com/hooks ", allow_private=False)
    'https://example.com/hooks'
    """
    text = text.strip()
    if len(text) > URL_CHARACTERS_MAX:
        raise _refused(f"is longer than {URL_CHARACTERS_MAX} characters")
    try:
        url = _URL.validate_python(text)
    except ValidationError:
        raise _refused("is no URL, as https://example.com/hooks") from None
    schemes = ("https", "http") if allow_private else ("https",)
    if url.scheme not in schemes:
        raise _refused(f"must begin with {' or '.join(f'{each}://' for each in schemes)}")
    if not url.host:
        raise _refused("names no host")
    if url.username is not None or url.password is not None:
        raise _refused("must hold no user and password: use headers")
    if not allow_private and not _may_be_public(url.host):
        raise _refused("must be public: this host is of a private network")
    return text


def _may_be_public(host: str) -> bool:
    """Tell whether a host may be public by its spelling: an address is, or a name that is not local."""
    try:
        return is_public(ip_address(host.strip("[]")))
    except ValueError:
        name = host.lower().rstrip(".")
        return "." in name and not any(
            name == each or name.endswith(f".{each}") for each in PRIVATE_NAMES
        )


def _refused(problem: str) -> ValidationFailed:
    """Return the refusal of a URL."""
    return ValidationFailed(f"url {problem}", field="url")

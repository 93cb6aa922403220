"""Which addresses users may have the platform call: public ones, and what the operator adds."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SETTING = "ME_ALLOWED_CALLBACK_NETWORKS"
_NAT64 = IPv6Network("64:ff9b::/96")


class OutboundError(Exception):
    """A call was not answered; the text says why, without the path and query of the address, which may be secret."""


class AddressRefused(OutboundError):
    """The address is none that the platform calls."""


def permitted_addresses(host: str, resolved: Iterable[str], allowed: Sequence[Network]) -> list[str]:
    """Of the addresses that `host` resolves to, those that may be called. Raises AddressRefused where none may."""
    found = [ip_address(text) for text in dict.fromkeys(resolved)]
    permitted = [str(address) for address in found if is_permitted(address, allowed)]
    if not permitted:
        shown = ", ".join(str(address) for address in found[:3])
        raise AddressRefused(
            f"The host {host} has the address {shown}, which is not public. "
            f"Use a public address, or let the operator add its network to {SETTING}."
        )
    return permitted


def is_permitted(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an address is public unicast, or in a network that the operator allows.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, NAT64) is judged as that.
    """
    address = _reached(address)
    if any(address in network for network in allowed):
        return True
    return address.is_global and not address.is_multicast and not address.is_reserved


def _reached(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address

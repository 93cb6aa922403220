"""Which addresses may be called."""

from ipaddress import ip_address, ip_network

import pytest

from model_engine_chassis.outbound import AddressRefused
from model_engine_chassis.outbound.addresses import is_permitted, permitted_addresses

PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
REFUSED = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1"),
    *("192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str) -> None:
    assert is_permitted(ip_address(address), ())


@pytest.mark.parametrize("address", REFUSED)
def test_other_addresses_may_not(address: str) -> None:
    assert not is_permitted(ip_address(address), ())


def test_what_the_operator_allows_may_be_called_however_it_is_written() -> None:
    allowed = [ip_network("127.0.0.0/8"), ip_network("fd00::/8")]
    for address in ("127.0.0.1", "::ffff:127.0.0.1", "fd00::1"):
        assert is_permitted(ip_address(address), allowed)
    assert not is_permitted(ip_address("10.0.0.1"), allowed)


def test_only_the_permitted_addresses_of_a_host_are_called() -> None:
    assert permitted_addresses("host", ["10.0.0.1", "1.1.1.1", "1.1.1.1"], ()) == ["1.1.1.1"]
    with pytest.raises(AddressRefused, match=r"host has the address 10\.0\.0\.1, which is not public.*ME_ALLOWED"):
        permitted_addresses("host", ["10.0.0.1"], ())

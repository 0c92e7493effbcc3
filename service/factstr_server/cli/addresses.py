"""Addresses as they are written in flags."""

import ipaddress


def is_unix(address: str) -> bool:
    return address.startswith(("unix:", "unix-abstract:"))


def is_address(address: str) -> bool:
    if is_unix(address):
        return True
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and int(port) < 2**16


def is_local(address: str) -> bool:
    """Whether only this machine can reach it."""
    if is_unix(address):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

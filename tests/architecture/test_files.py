"""Nothing in the repository depends on where it was made: no registry's host, no path of one machine, nothing
large that came in by mistake.
"""

import re

from tests.architecture.repository import ROOT, files

# Written in two parts, so that this file holds none of them.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("npm" + "js", "org"),
        ("npm" + "js", "com"),
        ("yarn" + "pkg", "com"),
        ("proxy.golang", "org"),
        ("sum.golang", "org"),
        ("crates", "io"),
        ("repo1", "maven"),
        ("repo", "maven"),
        ("debian", "org"),
    )
)
MACHINE_PATHS = re.compile(r"(?<![\w.-])/(work|root|opt/wheels)/")


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = []
    for path in files():
        text = path.read_bytes().decode("utf-8", "replace").lower()
        names = [host for host in REGISTRY_HOSTS if host in text] + MACHINE_PATHS.findall(text)
        found += [f"{path.relative_to(ROOT)}: {name}" for name in names]
    assert found == []


def test_no_file_is_large() -> None:
    large = 1024 * 1024
    assert [str(path.relative_to(ROOT)) for path in files() if path.stat().st_size > large] == []

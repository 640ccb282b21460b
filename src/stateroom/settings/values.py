"""Settings that are a name, a word or a file.

Each reader raises `ValueError` with what is wrong and how to fix it.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from ..addresses import parse_client
from .places import is_host_name

MAX_COOKIE_NAME_LENGTH = 128
TRACE_COOKIE = "stateroom_signed_in"
"""A cookie that shows the sign-in page that the browser dropped the session cookie (request/cookie_fate.py)."""

_NO_COOKIE_NAME = set('()<>@,;:\\"/[]?={} \t')

MAX_DEPLOYMENT_LENGTH = 200


def cookie_domain(text: str) -> str:
    """Check the `Domain` of a cookie. Raises `ValueError` with the fix."""
    if not is_host_name(text.removeprefix(".")):
        raise ValueError("must be a domain without https://, port and path; write for example example.com, or unset it")
    bare = text.strip(".").lower()
    if parse_client(bare) is not None or re.fullmatch(r"[0-9]+|0x[0-9a-f]*", bare.rpartition(".")[2]):
        # To a browser, a name whose last part is a number is an IPv4 address: https://url.spec.whatwg.org/#ends-in-a-number-checker
        raise ValueError("is an address, and browsers drop cookies with an address; unset it, or name a domain such as example.com")
    if _is_public_suffix(bare):
        raise ValueError("is a public suffix, and browsers drop cookies for it; name your own domain below it, or unset it")
    return text


def _is_public_suffix(domain: str) -> bool:
    """Whether different owners have the names directly below a domain, as with `co.uk` (https://publicsuffix.org)."""
    from publicsuffixlist import PublicSuffixList  # imported only if needed, because reading the list takes 80 ms

    return PublicSuffixList().is_public(domain)


def _cookie_name(name: str) -> str:
    if not name or any(c in _NO_COOKIE_NAME or not 32 < ord(c) < 127 for c in name):
        raise ValueError("has characters that are invalid in the name of a cookie; use letters, digits, - and _")
    if name == TRACE_COOKIE:
        raise ValueError("is the name of another cookie of Stateroom; use another name")
    if len(name) > MAX_COOKIE_NAME_LENGTH:
        raise ValueError(
            f"must have at most {MAX_COOKIE_NAME_LENGTH} characters, because browsers limit a cookie's length; use a shorter name"
        )
    return name


def cookie_path(path: str) -> str:
    """Check the `Path` of a cookie. Raises `ValueError` with the fix."""
    if not path.startswith("/") or ";" in path or any(c.isspace() or not c.isprintable() for c in path):
        raise ValueError("must begin with / and must not have a space or a semicolon; for example /app")
    return path


def _key_prefix(prefix: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", prefix):
        raise ValueError("must have 1 to 64 characters, of letters, digits and _ . : -; for example session")
    return prefix


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _capital(value: object) -> object:
    return value.capitalize() if isinstance(value, str) else value


def _file(path: Path) -> Path:
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; name an existing file, or unset it") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; name a file that the service's user can read") from None
    if not is_file:
        raise ValueError(f"{path} is not a regular file; name an existing file, or unset it")
    return path


def _deployment(name: str) -> str:
    if name.lower() == "none":  # because an empty variable counts as unset
        return ""
    if len(name) > MAX_DEPLOYMENT_LENGTH or not all("!" <= each <= "~" for each in name):
        raise ValueError(
            f"must have at most {MAX_DEPLOYMENT_LENGTH} ASCII characters and no space; for example production or https://example.com"
        )
    return name


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is not a folder; name a folder, which is made if it does not exist")
    return path


CookieName = Annotated[str, AfterValidator(_cookie_name)]
CookieDomain = Annotated[str, AfterValidator(cookie_domain)]
CookiePath = Annotated[str, AfterValidator(cookie_path)]
KeyPrefix = Annotated[str, AfterValidator(_key_prefix)]
DeploymentName = Annotated[str, AfterValidator(_deployment)]
ExistingFile = Annotated[Path, AfterValidator(_file)]
Folder = Annotated[Path, AfterValidator(_folder)]
AnyCase = BeforeValidator(_lower)
Capitalised = BeforeValidator(_capital)

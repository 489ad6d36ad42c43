"""The TLS options of a Redis URL, refused before anything is opened where they cannot work or check too little."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from tiered.errors import ConfigError

TLS_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
TLS_OPTIONS = (
    *(*TLS_FILES, "ssl_ca_data", "ssl_password", "ssl_cert_reqs"),
    *("ssl_check_hostname", "ssl_min_version", "ssl_ciphers", "ssl_validate_ocsp"),
)


def check_tls(options: Mapping[str, str], name: str, insecure_tls: bool) -> None:
    """Raises `ConfigError`; no message holds a password."""
    level = options.get("ssl_cert_reqs", "required")
    if level not in ("required", "optional", "none"):
        raise ConfigError(f"{name}: ssl_cert_reqs is required, optional or none")
    unchecked = [] if level != "none" else ["ssl_cert_reqs=none"]
    if options.get("ssl_check_hostname", "true").lower() in ("0", "f", "false", "n", "no"):
        unchecked.append("ssl_check_hostname=false")
    if unchecked and not insecure_tls:
        raise ConfigError(
            f"{name}: {' and '.join(unchecked)} lets anyone pose as the server; if you mean it, insecure_tls=True"
        )
    if not options.get("ssl_min_version", "0").isdecimal():
        raise ConfigError(f"{name}: ssl_min_version is the number of the protocol: 771 (TLS 1.2) or 772 (TLS 1.3)")
    for option in TLS_FILES:
        if option in options and not Path(options[option]).exists():
            raise ConfigError(f"{name}: {option} in the Redis URL names a file that is not there")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ConfigError(
            f"{name}: ssl_keyfile in the Redis URL needs ssl_certfile, the certificate that it belongs to"
        )
    _check_loads(options, name)


def _check_loads(options: Mapping[str, str], name: str) -> None:
    """Load what every connection is going to load: there it would look like a fault of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def certificate(file: str) -> None:
        # Without a password OpenSSL asks the terminal for that of an encrypted key, and waits.
        context.load_cert_chain(file, options.get("ssl_keyfile"), options.get("ssl_password", ""))

    loads: tuple[tuple[str, str, Callable[[str], object]], ...] = (
        ("ssl_ca_certs", "ssl_ca_certs", lambda file: context.load_verify_locations(cafile=file)),
        ("ssl_ca_data", "ssl_ca_data", lambda text: context.load_verify_locations(cadata=text)),
        ("ssl_certfile", "ssl_certfile, ssl_keyfile or ssl_password", certificate),
        ("ssl_ciphers", "ssl_ciphers", context.set_ciphers),
    )
    for option, told, load in loads:
        if option in options:
            try:
                load(options[option])
            except (OSError, ValueError) as error:
                raise ConfigError(f"{name}: {told} in the Redis URL cannot be used: {error}") from error

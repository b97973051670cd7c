"""Whom a connection with TLS trusts."""

import ssl


def system_tls() -> ssl.SSLContext:
    """What the system trusts, or SSL_CERT_FILE and SSL_CERT_DIR."""
    from httpx2 import create_ssl_context  # 40 ms and 6 MB that a server nearby does not need

    context = create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context

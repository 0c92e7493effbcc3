"""Owns the connection of a command, and the query its flags describe."""

from argparse import Namespace
from pathlib import Path

from factstr.cli.failure import CommandFailed
from factstr.connection import TLS
from factstr.json_text import JsonText
from factstr.query import EventQuery, everything, where
from factstr.retry import DEFAULT_RETRIES, Retries
from factstr.store import EventStore, connect


def open_store(options: Namespace, retries: Retries = DEFAULT_RETRIES) -> EventStore:
    """Return the store that the flags name. Raises CommandFailed when they contradict each other."""
    named = (options.tls_ca, options.tls_client_cert, options.tls_client_key, options.tls_server_name)
    tls = TLS(*named) if options.tls or any(named) else None
    if options.token and options.token_file:
        raise CommandFailed("give --token or --token-file, not both")
    token = (
        Path(options.token_file).read_text(encoding="utf-8").strip()
        if options.token_file
        else options.token or None
    )
    try:
        return connect(
            options.target,
            tls=tls,
            token=token,
            timeout=options.timeout,
            retries=retries,
            allow_plaintext_token=options.allow_plaintext_token,
        )
    except ValueError as error:
        raise CommandFailed(str(error).replace("allow_plaintext_token", "--allow-plaintext-token")) from error


def selected(options: Namespace) -> EventQuery:
    """Return the query of --type and --payload (any-of each), or of --query; every fact without them."""
    if options.query is not None:
        if options.where_type or options.where_payload:
            options.wrong_usage("--query says it all; leave out the flags for types and payloads")
        query: EventQuery = options.query
        return query
    if not (options.where_type or options.where_payload):
        return everything()
    predicates = None if options.where_payload is None else list(map(JsonText, options.where_payload))
    return where(types=options.where_type, payload_any=predicates)


def selected_stream(options: Namespace) -> EventQuery:
    """Return the query of a stream, which has its position beside it."""
    query = selected(options)
    if query.min_sequence_number is not None:
        options.wrong_usage(
            f"a stream's query has no min_sequence_number; say --from {query.min_sequence_number} instead"
        )
    return query

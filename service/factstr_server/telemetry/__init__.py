"""What a server lets be seen of itself, which the layers below count in plain numbers.

    metrics     Prometheus' metrics, made when they are asked for
    endpoint    where they are fetched
    logs        the log's lines, as text or JSON, and the lines that calls leave
    tracing     spans for OpenTelemetry, where that is installed

Nothing that is seen holds payloads, predicates, metadata of facts, tokens or passwords.
"""

"""The gRPC edge: one servicer per service, translation, status mapping.

Turns wire messages into what the contract knows and back. No store logic: a servicer calls the log and nothing below.
"""

package io.factstr;

/** The order of returned facts. */
public enum Order {
    /** Oldest first. */
    ASCENDING,
    /** Newest first. */
    DESCENDING
}

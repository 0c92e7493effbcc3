package io.factstr;

import java.io.Serializable;

/**
 * What is wrong with one field of a request.
 *
 * @param field its path, for example {@code events[3].payload}
 * @param description what was wrong, and what would be right
 */
public record FieldViolation(String field, String description) implements Serializable {}

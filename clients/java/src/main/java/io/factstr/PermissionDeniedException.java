package io.factstr;

/** The caller's role does not allow this call. {@link #metadata} has {@code required_role}. */
public final class PermissionDeniedException extends FactstrException {
    PermissionDeniedException(Failure failure) {
        super(failure);
    }
}

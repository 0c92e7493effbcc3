package io.factstr;

/**
 * A JSON text that is sent byte for byte, as a payload or predicate, instead of a value.
 *
 * @param text one JSON text; the server checks that it is one
 */
public record JsonText(String text) {
    static final JsonText NULL = new JsonText("null");

    /**
     * Checks that the text can be sent.
     *
     * @throws IllegalArgumentException when it is null or holds half a surrogate pair
     */
    public JsonText {
        Json.checked("the JSON text", text);
    }
}

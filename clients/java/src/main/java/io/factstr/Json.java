package io.factstr;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerationException;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.core.util.JsonGeneratorDelegate;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** Owns the way between values and JSON texts, without losing a digit. */
final class Json {
    private static final JsonMapper MAPPER = JsonMapper.builder(JsonFactory.builder()
                    .addDecorator((factory, generator) -> new Finite(generator))
                    .build())
            .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
            .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES)
            .disable(StreamWriteFeature.WRITE_BIGDECIMAL_AS_PLAIN)
            .build();

    private Json() {}

    /** The JSON text of a value; a {@link JsonText} is returned as it is. */
    static String text(String name, Object value) {
        if (value instanceof JsonText json) {
            return json.text();
        }
        try {
            return checked(name, MAPPER.writeValueAsString(value));
        } catch (JsonProcessingException cannot) {
            throw new IllegalArgumentException(
                    name + " cannot be written as JSON: " + cannot.getOriginalMessage(), cannot);
        }
    }

    static JsonNode parse(String text) {
        try {
            return MAPPER.readTree(text);
        } catch (JsonProcessingException cannot) {
            throw new IllegalArgumentException("the payload cannot be read: " + cannot.getOriginalMessage(), cannot);
        }
    }

    static <T> T parse(String text, Class<T> type) {
        try {
            return MAPPER.readValue(text, type);
        } catch (JsonProcessingException cannot) {
            throw new IllegalArgumentException(
                    "the payload cannot be read as " + type.getName() + ": " + cannot.getOriginalMessage(), cannot);
        }
    }

    /** Returns the text. A half of a surrogate pair would be sent as a question mark: another fact. */
    static String checked(String name, String text) {
        if (text == null) {
            throw new IllegalArgumentException(name + " is null");
        }
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
            throw new IllegalArgumentException(name + " holds half a surrogate pair, which is no character");
        }
        return text;
    }

    /** Refuses NaN and the infinities: they are no JSON, and as strings, as Jackson writes them, another fact. */
    private static final class Finite extends JsonGeneratorDelegate {
        Finite(JsonGenerator generator) {
            super(generator, false);
        }

        @Override
        public void writeNumber(double number) throws IOException {
            super.writeNumber(finite(number));
        }

        @Override
        public void writeNumber(float number) throws IOException {
            finite(number);
            super.writeNumber(number);
        }

        @Override
        public void writeArray(double[] numbers, int offset, int length) throws IOException {
            for (int index = offset; index < offset + length; index++) {
                finite(numbers[index]);
            }
            super.writeArray(numbers, offset, length);
        }

        private double finite(double number) throws JsonGenerationException {
            if (!Double.isFinite(number)) {
                throw new JsonGenerationException(number + " is no number of JSON", this);
            }
            return number;
        }
    }
}

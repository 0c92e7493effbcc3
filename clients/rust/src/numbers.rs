//! Owns the check that all numbers of a value are numbers of JSON. It has none for NaN and the infinities, and
//! [`serde_json`] writes null instead: a fact that nobody stated.

use std::fmt::Display;

use serde::Serialize;
use serde::ser::{Error as _, SerializeMap, SerializeStruct, SerializeStructVariant, Serializer};
use serde_json::Error;

/// Fails where the value holds a float that is not finite, however deep.
pub(crate) fn check_numbers(value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    value.serialize(Check)
}

/// Writes nothing.
struct Check;

macro_rules! passes {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, _: $type) -> Result<(), Error> {
            Ok(())
        }
    )*};
}

impl Serializer for Check {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        if value.is_finite() { Ok(()) } else { Err(Error::custom(format!("JSON has no number for {value}"))) }
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.serialize_f64(value.into())
    }

    passes! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_unit_struct: &'static str
    }

    fn serialize_none(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        check_numbers(value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        check_numbers(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        check_numbers(value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }
}

macro_rules! checks_elements {
    ($($compound:ident: $method:ident),*) => {$(
        impl serde::ser::$compound for Check {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                check_numbers(value)
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        }
    )*};
}

checks_elements! {
    SerializeSeq: serialize_element, SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
}

macro_rules! checks_fields {
    ($($compound:ident),*) => {$(
        impl $compound for Check {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Error> {
                check_numbers(value)
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        }
    )*};
}

checks_fields! { SerializeStruct, SerializeStructVariant }

/// Keys are left to [`serde_json`], which refuses those that are no finite numbers.
impl SerializeMap for Check {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        check_numbers(value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;
    use crate::{ErrorKind, Event, EventFilter};

    #[derive(Serialize)]
    enum Reading {
        Celsius(f32),
        Range(f64, f64),
        Place { height: Option<f64> },
        Unknown,
    }

    #[derive(Serialize)]
    struct Sample<T>(T, Option<()>);

    fn is_sent(payload: impl Serialize) -> bool {
        match (Event::new("a", &payload), EventFilter::new().payload(&payload)) {
            (Ok(_), Ok(_)) => true,
            (Err(event), Err(filter)) => {
                assert_eq!((event.kind(), filter.kind()), (ErrorKind::Usage, ErrorKind::Usage));
                assert!(event.message().contains("JSON has no number for"), "{event}");
                false
            }
            (event, filter) => panic!("{event:?} but {filter:?}"),
        }
    }

    #[test]
    fn what_is_no_number_is_refused_wherever_it_is() {
        assert!(!is_sent(f64::NAN));
        assert!(!is_sent(f32::NEG_INFINITY));
        assert!(!is_sent(Some([1.0, f64::INFINITY])));
        assert!(!is_sent((1, "a", vec![HashMap::from([("a", f64::NAN)])])));
        assert!(!is_sent(Reading::Celsius(f32::NAN)));
        assert!(!is_sent(Reading::Range(0.0, f64::INFINITY)));
        assert!(!is_sent(Sample(Reading::Place { height: Some(f64::NAN) }, None)));
    }

    #[test]
    fn everything_else_is_sent() {
        assert!(is_sent(json!({"a": [null, true, 1, -1, 1e300, "NaN", {}]})));
        assert!(is_sent((u128::MAX, i128::MIN, 'a', f32::MAX, (), b"a")));
        assert!(is_sent(Sample([Reading::Unknown, Reading::Place { height: None }], Some(()))));
        assert!(is_sent(HashMap::from([(1, format_args!("{}", 2))])));
    }
}

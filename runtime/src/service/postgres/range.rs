//! PostgreSQL's binary form of ranges.

use catena_bindings::postgres::v4::postgres::RangeBoundKind;

const EMPTY: u8 = 1;
const LOWER_INCLUSIVE: u8 = 2;
const UPPER_INCLUSIVE: u8 = 4;
const LOWER_INFINITE: u8 = 8;
const UPPER_INFINITE: u8 = 16;

/// A bound that is not infinite.
pub(super) type Bound<T> = Option<(T, RangeBoundKind)>;

/// Writes a range whose bounds are in their type's binary form.
pub(super) fn encode(lower: Bound<Vec<u8>>, upper: Bound<Vec<u8>>) -> Vec<u8> {
    let mut flags = 0;
    let mut bounds = Vec::new();
    let sides = [
        (lower, LOWER_INCLUSIVE, LOWER_INFINITE),
        (upper, UPPER_INCLUSIVE, UPPER_INFINITE),
    ];
    for (bound, inclusive, infinite) in sides {
        let Some((bytes, kind)) = bound else {
            flags |= infinite;
            continue;
        };
        if matches!(kind, RangeBoundKind::Inclusive) {
            flags |= inclusive;
        }
        // The bounds of numbers are a few bytes long.
        let length = u32::try_from(bytes.len()).unwrap_or_default();
        bounds.extend_from_slice(&length.to_be_bytes());
        bounds.extend_from_slice(&bytes);
    }
    let mut range = vec![flags];
    range.append(&mut bounds);
    range
}

/// Reads a range; none where it is malformed. The empty range is `(zero, zero)`,
/// which is as empty.
pub(super) fn decode<T>(
    range: &[u8],
    zero: fn() -> T,
    read: fn(&[u8]) -> Option<T>,
) -> Option<(Bound<T>, Bound<T>)> {
    let (&flags, mut rest) = range.split_first()?;
    if flags & EMPTY != 0 {
        let nothing = || Some((zero(), RangeBoundKind::Exclusive));
        return Some((nothing(), nothing()));
    }
    let mut bound = |inclusive: u8, infinite: u8| -> Option<Bound<T>> {
        if flags & infinite != 0 {
            return Some(None);
        }
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let value = read(after.get(..length)?)?;
        rest = after.get(length..)?;
        let kind = if flags & inclusive != 0 {
            RangeBoundKind::Inclusive
        } else {
            RangeBoundKind::Exclusive
        };
        Some(Some((value, kind)))
    };
    let lower = bound(LOWER_INCLUSIVE, LOWER_INFINITE)?;
    let upper = bound(UPPER_INCLUSIVE, UPPER_INFINITE)?;
    Some((lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Option<i32> {
        Some(i32::from_be_bytes(bytes.try_into().ok()?))
    }

    #[test]
    fn a_range_is_read_as_it_was_written() {
        let lower = || Some((7_i32.to_be_bytes().to_vec(), RangeBoundKind::Inclusive));
        let (low, high) = decode(&encode(lower(), None), || 0, number).unwrap();
        assert!(matches!(low, Some((7, RangeBoundKind::Inclusive))));
        assert!(high.is_none());
        let (low, high) = decode(&[EMPTY], || 0, number).unwrap();
        assert!(matches!(low, Some((0, RangeBoundKind::Exclusive))));
        assert!(matches!(high, Some((0, RangeBoundKind::Exclusive))));
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let whole = encode(Some((vec![0; 4], RangeBoundKind::Inclusive)), None);
        for length in 0..whole.len() {
            assert!(decode(&whole[..length], || 0, number).is_none(), "{length}");
        }
    }
}

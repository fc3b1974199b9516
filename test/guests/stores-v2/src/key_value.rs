//! Key-value stores. `store`, `key` and `value` of the question say which; a second `key` goes with a
//! second `value`.

use crate::query::Query;
use crate::spin_1::fermyon::spin::key_value as v1;
use crate::spin_2::fermyon::spin::key_value as v2;
use crate::wasi_keyvalue::wasi::keyvalue::{atomics, batch, store};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("the value is text")
}

fn one<'a>(query: &'a Query, name: &str) -> &'a str {
    query.get(name).unwrap_or_default()
}

pub(crate) fn unversioned(act: &str, query: &Query) -> String {
    let (label, key) = (one(query, "store"), one(query, "key"));
    let store = match v1::open(label) {
        Ok(store) => store,
        Err(error) => return format!("{error:?}"),
    };
    let answer = match act {
        "get" => format!("{:?}", v1::get(store, key).map(text)),
        "set" => format!("{:?}", v1::set(store, key, one(query, "value").as_bytes())),
        "delete" => format!("{:?}", v1::delete(store, key)),
        "exists" => format!("{:?}", v1::exists(store, key)),
        "keys" => format!("{:?}", v1::get_keys(store)),
        "made-up" => format!("{:?}", v1::get(store + 1000, key)),
        "closed" => {
            v1::close(store);
            return format!("{:?}", v1::exists(store, key));
        }
        _ => "there is no such act".to_owned(),
    };
    v1::close(store);
    answer
}

pub(crate) fn v2(act: &str, query: &Query) -> String {
    let (label, key) = (one(query, "store"), one(query, "key"));
    let store = match v2::Store::open(label) {
        Ok(store) => store,
        Err(error) => return format!("{error:?}"),
    };
    match act {
        "get" => format!("{:?}", store.get(key).map(|value| value.map(text))),
        "set" => format!("{:?}", store.set(key, one(query, "value").as_bytes())),
        "delete" => format!("{:?}", store.delete(key)),
        "exists" => format!("{:?}", store.exists(key)),
        "keys" => format!("{:?}", store.get_keys()),
        "large" => format!("{:?}", store.set(key, &vec![7; (16 << 20) + 1])),
        "hoard" => {
            let mut stores = Vec::new();
            loop {
                match v2::Store::open(label) {
                    Ok(store) => stores.push(store),
                    Err(error) => return format!("{} {error:?}", stores.len()),
                }
            }
        }
        _ => "there is no such act".to_owned(),
    }
}

pub(crate) fn wasi(act: &str, query: &Query) -> String {
    let (label, key) = (one(query, "store"), one(query, "key"));
    let keys = || query.all("key").map(ToOwned::to_owned).collect::<Vec<_>>();
    let bucket = match store::open(label) {
        Ok(bucket) => bucket,
        Err(error) => return format!("{error:?}"),
    };
    match act {
        "get" => format!("{:?}", bucket.get(key).map(|value| value.map(text))),
        "set" => format!("{:?}", bucket.set(key, one(query, "value").as_bytes())),
        "delete" => format!("{:?}", bucket.delete(key)),
        "exists" => format!("{:?}", bucket.exists(key)),
        "keys" => {
            let listed = bucket.list_keys(None);
            format!("{:?}", listed.map(|page| (page.keys, page.cursor)))
        }
        "get-many" => {
            let found = batch::get_many(&bucket, &keys()).map(|found| {
                let found = found.into_iter();
                found
                    .map(|(key, value)| (key, value.map(text)))
                    .collect::<Vec<_>>()
            });
            format!("{found:?}")
        }
        "set-many" => {
            let values = query.all("value").map(|value| value.as_bytes().to_vec());
            let pairs: Vec<_> = keys().into_iter().zip(values).collect();
            format!("{:?}", batch::set_many(&bucket, &pairs))
        }
        "delete-many" => format!("{:?}", batch::delete_many(&bucket, &keys())),
        "increment" => {
            let delta = one(query, "value").parse().expect("a number");
            format!("{:?}", atomics::increment(&bucket, key, delta))
        }
        // Another writes between reading and swapping; the second try counts.
        "swap" => {
            let value = one(query, "value").as_bytes();
            let cas = atomics::Cas::new(&bucket, key).expect("a swap begins");
            let seen = cas.current().map(|value| value.map(text));
            bucket.set(key, b"another").expect("another writes");
            let next = match atomics::swap(cas, value) {
                Err(atomics::CasError::CasFailed(next)) => next,
                other => return format!("{other:?}"),
            };
            let then = next.current().map(|value| value.map(text));
            let swapped = atomics::swap(next, value).map_err(|_| "not swapped");
            format!("{seen:?} {then:?} {swapped:?}")
        }
        _ => "there is no such act".to_owned(),
    }
}

//! What a test asks of a guest: a path and the pairs of its query, percent-decoded. A first segment that
//! begins with `~` belongs to the route (`/~name/...`) and is no part of the question.

/// A request's path and query.
pub(crate) struct Query {
    pub(crate) path: String,
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(path_with_query: &str) -> Self {
        let (path, query) = path_with_query
            .split_once('?')
            .unwrap_or((path_with_query, ""));
        let path = match path.strip_prefix("/~") {
            Some(routed) => routed.find('/').map_or("/", |at| &routed[at..]),
            None => path,
        };
        let pairs = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        Self {
            path: path.to_owned(),
            pairs,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(crate) fn all<'a, 'b>(
        &'a self,
        name: &'b str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'b> {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A number, or `default` where the test did not say.
    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.get(name)
            .map_or(default, |value| value.parse().expect("a number"))
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.unwrap_or(b'?'));
                let digits = std::str::from_utf8(&digits).expect("hexadecimal digits");
                u8::from_str_radix(digits, 16).expect("hexadecimal digits")
            }
            other => other,
        });
    }
    String::from_utf8(bytes).expect("text")
}

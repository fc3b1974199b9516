use super::*;

fn declared(variables: &[(&str, Option<&str>)]) -> Variables {
    let variable = |default: Option<&str>| Variable {
        default: default.map(ToOwned::to_owned),
        ..Variable::default()
    };
    variables
        .iter()
        .map(|(name, default)| ((*name).to_owned(), variable(*default)))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn a_provided_value_beats_the_default() {
    let declared = declared(&[("who", Some("world")), ("how", Some("hello"))]);
    let provided = from_env(
        &declared,
        &pairs(&[("SPIN_VARIABLE_WHO", "moon"), ("WHO", "sun")]),
    );
    let values = resolve(&declared, &provided).unwrap();
    assert_eq!(
        values.expand("{{ how }}, {{who}}!").unwrap(),
        "hello, moon!"
    );
}

#[test]
fn the_environment_sets_by_upper_case_name_and_the_last_setting_counts() {
    let declared = declared(&[("api_key", None)]);
    let env = pairs(&[
        ("SPIN_VARIABLE_API_KEY", "old"),
        ("SPIN_VARIABLE_API_KEY", "new"),
    ]);
    let values = resolve(&declared, &from_env(&declared, &env)).unwrap();
    assert_eq!(values.get("api_key"), Some("new"));
    assert_eq!(values.get("API_KEY"), None);
}

#[test]
fn all_missing_variables_are_named_together() {
    let one = resolve(&declared(&[("a", None), ("b", Some(""))]), &BTreeMap::new());
    assert_eq!(
        one.unwrap_err().to_string(),
        "the application is refused: the variable \"a\" has no value and no default; \
         set SPIN_VARIABLE_A"
    );
    let three = resolve(
        &declared(&[("a", None), ("b_c", None), ("d", None)]),
        &BTreeMap::new(),
    );
    assert_eq!(
        three.unwrap_err().to_string(),
        "the application is refused: the variables \"a\", \"b_c\" and \"d\" have no value and no \
         default; set SPIN_VARIABLE_A, SPIN_VARIABLE_B_C and SPIN_VARIABLE_D"
    );
}

#[test]
fn a_value_is_never_a_template() {
    let declared = declared(&[("a", Some("{{ b }}")), ("b", Some("secret"))]);
    let values = resolve(&declared, &BTreeMap::new()).unwrap();
    assert_eq!(values.expand("{{ a }}").unwrap(), "{{ b }}");
}

#[test]
fn templates_are_checked() {
    let declared = declared(&[("a", None)]);
    let check = |template| check_template(template, &declared).unwrap_err();
    assert_eq!(check_template("x {{a}} }} {{ a }}", &declared), Ok(()));
    assert_eq!(check_template("", &declared), Ok(()));
    assert_eq!(
        check("x {{ a"),
        "\"x {{ a\" opens \"{{\" and never closes it; add \"}}\""
    );
    assert_eq!(
        check("x {{ }}"),
        "\"x {{ }}\" names no variable between braces; name one"
    );
    assert_eq!(
        check("{{ b }}"),
        "\"{{ b }}\" mentions the variable \"b\", which the application does not declare; \
         declare it"
    );
}

#[test]
fn names_are_checked() {
    for good in ["a", "abc", "a1b2c3", "a_1", "a_1_b_3"] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
    for bad in ["", "aX", "1bc", "_x", "x.y", "x_", "a__b", "x-y", "é"] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

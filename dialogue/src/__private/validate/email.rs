/// Returns whether `text` is a valid e-mail address by the HTML standard, which is what `<input type="email">` takes:
/// ASCII, without comments, quoted parts or address literals; and no longer than SMTP can carry (RFC 5321, 4.5.3.1).
pub(super) fn is_email(text: &str) -> bool {
    const MAX: usize = 254;
    const MAX_LOCAL: usize = 64;
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= MAX
        && (1..=MAX_LOCAL).contains(&local.len())
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b))
        && domain.split('.').all(is_label)
}

/// RFC 1034's label: letters, digits and hyphens, and none of the latter at either end.
fn is_label(label: &str) -> bool {
    const MAX: usize = 63;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=MAX).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::is_email;

    #[test]
    fn takes_what_browsers_take() {
        let label = "a".repeat(63);
        let longest = format!("{}@{label}.{label}.{}", "a".repeat(64), "a".repeat(61));
        assert_eq!(longest.len(), 254);
        for valid in
            ["a@b", "email@here.com", "weirder-email@here.and.there.com", "a.b+c@1.example", &longest]
        {
            assert!(is_email(valid), "{valid}");
        }
    }

    #[test]
    fn refuses_what_browsers_refuse() {
        let long_label = format!("a@{}", "a".repeat(64));
        let long_local = format!("{}@b", "a".repeat(65));
        let long = format!("{}@{}", "a".repeat(64), ["aaaa"; 39].join("."));
        assert!(long.len() > 254);
        let invalid = [
            "",
            "@",
            "a",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@.b",
            "a@b.",
            "a@b..c",
            "a@-b",
            "a@b-",
            "ü@b",
            "a@ü",
            "a\n@b",
            "a@b\n",
            "\"a\"@b",
            "a@[127.0.0.1]",
            "a@b_c",
            &long_label,
            &long_local,
            &long,
        ];
        for invalid in invalid {
            assert!(!is_email(invalid), "{invalid}");
        }
    }

    const HTML: &str = "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?){0,2}";

    proptest! {
        #[test]
        fn takes_what_the_standards_expression_makes(text in HTML) {
            prop_assert_eq!(is_email(&text), text.len() <= 254);
        }

        #[test]
        fn refuses_a_character_beside_those(text in HTML, at: prop::sample::Index, bad in "[ \"(),:;<>@\\[\\]\\\\\u{0}-\u{1f}é日]") {
            let mut text = text;
            text.insert_str(at.index(text.len() + 1), &bad);
            prop_assert!(!is_email(&text));
        }
    }
}

//! The names that a lookup tries, in order: the rules of resolver(5) for the search list.
//!
//! This file is pure. Invariant: each name that [`names`] returns is absolute, so that the final dot keeps a name from
//! being completed twice.

/// Returns the absolute names that stand for `name`, in the order in which they are tried.
///
/// A name with a final dot is absolute already and stands for itself. A name with at least `ndots` dots is tried as it
/// is before it is completed by the domains of the search list, and another name after that.
///
/// A completed name that is too long for DNS is left out. A name under `onion` is never completed, because the name must
/// not reach DNS in any form (<https://www.rfc-editor.org/rfc/rfc7686#section-2>).
pub(super) fn names(name: &str, search: &[String], ndots: usize) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let as_it_is = format!("{name}.");
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.eq_ignore_ascii_case("onion") {
        return vec![as_it_is];
    }
    let dots = name.bytes().filter(|byte| *byte == b'.').count();
    let mut names = Vec::with_capacity(search.len().min(MAX_DOMAINS) + 1);
    let mut add = |name: String| {
        if name.len() <= MAX_NAME && !names.contains(&name) {
            names.push(name);
        }
    };
    let is_first = dots >= ndots.min(MAX_NDOTS);
    if is_first {
        add(as_it_is.clone());
    }
    for domain in search.iter().take(MAX_DOMAINS) {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        add(if domain.is_empty() { as_it_is.clone() } else { format!("{name}.{domain}.") });
    }
    if !is_first {
        add(as_it_is);
    }
    names
}

/// Returns the search list of a `resolv.conf`, and the other lines. The last line with a list or a domain counts. Returns
/// `None` if there is no such line.
pub(super) fn split(resolv_conf: &str) -> (Option<Vec<&str>>, String) {
    let (mut search, mut others) = (None, String::new());
    for line in resolv_conf.lines() {
        let mut words = line.split([';', '#']).next().unwrap_or_default().split_whitespace();
        let domains: Vec<_> = match words.next() {
            Some("search") => words.collect(),
            Some("domain") => words.take(1).collect(),
            _ => {
                others.push_str(line);
                others.push('\n');
                continue;
            }
        };
        if !domains.is_empty() {
            search = Some(domains);
        }
    }
    (search, others)
}

/// Maximum length of an absolute name with its final dot. A name takes at most 255 octets in a message, of which the
/// length of the first label and the root take two (<https://www.rfc-editor.org/rfc/rfc1035#section-3.1>).
const MAX_NAME: usize = 254;

/// Largest number of dots that the option `ndots` can require. The C libraries have the same limit.
const MAX_NDOTS: usize = 15;

/// Maximum number of domains that are used. Older C libraries use six, and newer ones have no limit.
const MAX_DOMAINS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, search: &str, ndots: usize, expected: &[&str]) {
        let search: Vec<_> = search.split_whitespace().map(str::to_owned).collect();
        assert_eq!(names(name, &search, ndots), expected, "{name} with {search:?} and ndots:{ndots}");
    }

    #[test]
    fn the_last_line_with_a_search_list_counts() {
        for (text, search, others) in [
            ("", None, ""),
            ("nameserver ::1\n# search a\n", None, "nameserver ::1\n# search a\n"),
            ("search a b\noptions ndots:2", Some(&["a", "b"][..]), "options ndots:2\n"),
            ("domain a b", Some(&["a"]), ""),
            ("search a\ndomain b\n", Some(&["b"]), ""),
            ("domain a\nsearch b c", Some(&["b", "c"]), ""),
            (" search\ta ;b\n", Some(&["a"]), ""),
            ("search a#b\r\nx\r\n", Some(&["a"]), "x\n"),
            // A line without a domain does not count.
            ("search a\nsearch\ndomain # b", Some(&["a"]), ""),
            ("searching a\n", None, "searching a\n"),
        ] {
            assert_eq!(split(text), (search.map(<[_]>::to_vec), others.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn names_are_completed_as_resolver_5_says() {
        for (name, search, ndots, expected) in [
            // An absolute name is never completed.
            ("api.test.", "evil.corp", 5, &["api.test."][..]),
            ("api.", "evil.corp", 1, &["api."]),
            // A name with fewer dots than `ndots` is completed first.
            ("api.test", "evil.corp", 5, &["api.test.evil.corp.", "api.test."]),
            ("api", "one.corp two.corp", 1, &["api.one.corp.", "api.two.corp.", "api."]),
            // A name with enough dots is tried as it is first.
            ("api.test", "one.corp two.corp", 1, &["api.test.", "api.test.one.corp.", "api.test.two.corp."]),
            ("a.b.c", "corp", 2, &["a.b.c.", "a.b.c.corp."]),
            ("a.b.c", "corp", 3, &["a.b.c.corp.", "a.b.c."]),
            ("api", "corp", 0, &["api.", "api.corp."]),
            // No search list.
            ("api", "", 1, &["api."]),
            ("api.test", "", 5, &["api.test."]),
            // Domains may have dots around them, and capitals. The root completes a name to itself.
            ("api", "Corp. .lan", 1, &["api.corp.", "api.lan.", "api."]),
            ("api", ". corp", 1, &["api.", "api.corp."]),
            // No name is tried twice.
            ("api", "corp corp. CORP", 1, &["api.corp.", "api."]),
            // `ndots` has an upper limit, so that a name with very many dots is tried as it is first.
            (
                "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p",
                "x",
                99,
                &["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.x."],
            ),
            (
                "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o",
                "x",
                99,
                &["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.x.", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o."],
            ),
            // A name of Tor stays what it is.
            ("x.onion", "corp", 5, &["x.onion."]),
            ("x.Onion", "corp", 1, &["x.Onion."]),
            ("onion.test", "corp", 5, &["onion.test.corp.", "onion.test."]),
        ] {
            check(name, search, ndots, expected);
        }
    }

    #[test]
    fn names_that_are_too_long_for_dns_are_left_out() {
        let label = "a".repeat(61);
        // 4 * 61 + 3 dots = 247 characters. With a final dot, six more fit.
        let name = [&*label; 4].join(".");
        assert_eq!(name.len(), 247);
        let fits = format!("{name}.abcde.");
        assert_eq!(fits.len(), 254);
        check(&name, "abcde abcdef", 9, &[&*fits, &*format!("{name}.")]);
        // A name that is too long as it is has no names at all.
        check(&format!("{name}.abcdef"), "", 1, &[]);
    }

    #[test]
    fn the_number_of_domains_is_limited() {
        let search: Vec<_> = (0..40).map(|n| format!("d{n}")).collect();
        let all = names("a", &search, 1);
        assert_eq!((all.len(), &*all[31], &*all[32]), (33, "a.d31.", "a."));
    }
}

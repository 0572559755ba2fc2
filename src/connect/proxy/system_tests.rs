//! Tests of the meaning of the settings of Windows and macOS.

use super::*;

fn urls(system: &System) -> (Option<&str>, Option<&str>) {
    (system.http.as_deref(), system.https.as_deref())
}

#[test]
fn a_proxy_of_windows_is_for_all_urls_or_for_those_of_its_scheme() {
    for (server, http, https) in [
        ("p.test:80", Some("p.test:80"), Some("p.test:80")),
        ("http://p.test:80", Some("http://p.test:80"), Some("http://p.test:80")),
        ("http=p.test:80", Some("p.test:80"), None),
        ("HTTPS=p.test:80", None, Some("p.test:80")),
        ("http=p.test:80;https=q.test:81;ftp=r.test:82", Some("p.test:80"), Some("q.test:81")),
        (" http=p.test:80 https=q.test:81; ", Some("p.test:80"), Some("q.test:81")),
        ("http=p.test:80;q.test:81", Some("p.test:80"), Some("q.test:81")),
        ("http=http://p.test:80", Some("http://p.test:80"), None),
        ("socks=s.test:1080", Some("socks4://s.test:1080"), Some("socks4://s.test:1080")),
        ("socks=socks5://s.test:1080", Some("socks5://s.test:1080"), Some("socks5://s.test:1080")),
        ("http=p.test:80;socks=s.test:1080", Some("p.test:80"), Some("socks4://s.test:1080")),
        ("ftp=p.test:80", None, None),
        ("http=", None, None),
        ("", None, None),
        (" ; ", None, None),
    ] {
        let system = System::of_windows(server, "");
        assert_eq!(urls(&system), (http, https), "{server}");
        assert_eq!(system.exceptions, None);
    }
}

#[test]
fn the_exceptions_of_windows_are_patterns() {
    let system = System::of_windows("p.test:80", "*.a.test;10.*;b.test;<local>");
    let hosts = system.exceptions.unwrap();
    for (host, is_spared) in [
        ("x.a.test", true),
        ("a.test", false),
        ("10.1.2.3", true),
        ("b.test", true),
        ("x.b.test", false),
        ("printer", true),
        ("192.0.2.1", false),
    ] {
        assert_eq!(hosts.contains(host, 80), is_spared, "{host}");
    }
    let hosts = System::of_windows("p.test:80", "b.test").exceptions.unwrap();
    assert!(hosts.contains("b.test", 80) && !hosts.contains("printer", 80));
}

/// Returns a property list as Core Foundation writes it. `extra` is a part of the dictionary.
fn list(extra: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n\
         \t<key>ExceptionsList</key>\n\t<array>\n\t\t<string>*.local</string>\n\t\t<string>169.254/16</string>\n\t</array>\n\
         \t<key>FTPPassive</key>\n\t<integer>1</integer>\n{extra}\
         \t<key>__SCOPED__</key>\n\t<dict>\n\t\t<key>en0</key>\n\t\t<dict>\n\t\t\t<key>HTTPEnable</key>\n\t\t\t<integer>1</integer>\n\
         \t\t\t<key>HTTPProxy</key>\n\t\t\t<string>scoped.test</string>\n\t\t</dict>\n\t</dict>\n\
         </dict>\n</plist>\n"
    )
}

fn entry(name: &str, is_on: u8, host: &str, port: u16) -> String {
    format!(
        "\t<key>{name}Enable</key>\n\t<integer>{is_on}</integer>\n\t<key>{name}Port</key>\n\t<integer>{port}</integer>\n\
         \t<key>{name}Proxy</key>\n\t<string>{host}</string>\n"
    )
}

#[test]
fn a_proxy_of_macos_counts_only_if_it_is_switched_on() {
    let [http, https, socks] =
        ["HTTP", "HTTPS", "SOCKS"].map(|name| move |is_on| entry(name, is_on, "p.test", 80));
    let (own, by_socks) = (Some("http://p.test:80"), Some("socks5h://p.test:80"));
    for (extra, expected) in [
        (String::new(), (None, None)),
        (http(1), (own, None)),
        (https(1), (None, own)),
        (http(0) + &https(0) + &socks(0), (None, None)),
        (http(1) + &https(1) + &socks(1), (own, own)),
        (http(0) + &https(1) + &socks(1), (by_socks, own)),
        (socks(1), (by_socks, by_socks)),
        (entry("HTTP", 1, "2001:db8::1", 3128), (Some("http://[2001:db8::1]:3128"), None)),
        (entry("HTTP", 1, " ", 3128), (None, None)),
        ("<key>HTTPEnable</key><integer>1</integer><key>HTTPProxy</key><string/>".into(), (None, None)),
        (
            "<key>HTTPEnable</key><integer>1</integer><key>HTTPProxy</key><string>p.test</string>".into(),
            (Some("http://p.test"), None),
        ),
    ] {
        assert_eq!(urls(&System::of_macos(&list(&extra))), expected, "{extra}");
    }
}

#[test]
fn the_exceptions_of_macos_are_patterns() {
    let simple = "\t<key>ExcludeSimpleHostnames</key>\n\t<integer>1</integer>\n";
    for (extra, spares_simple) in [("", false), (simple, true)] {
        let hosts = System::of_macos(&list(extra)).exceptions.unwrap();
        for (host, is_spared) in [
            ("printer.local", true),
            ("169.254.1.1", true),
            ("printer", spares_simple),
            ("a.test", false),
            ("en0", spares_simple),
        ] {
            assert_eq!(hosts.contains(host, 80), is_spared, "{host}");
        }
    }
    assert_eq!(System::of_macos("<dict></dict>").exceptions, None);
}

/// A list may end anywhere, and none of its parts is taken for another.
#[test]
fn a_list_that_is_cut_off_yields_no_other_values() {
    let whole = list(&(entry("HTTP", 1, "p&amp;&lt;q.test", 80) + &entry("SOCKS", 1, "s.test", 1080)));
    let full = plist::read(&whole);
    assert_eq!(full["HTTPProxy"], ["p&<q.test"]);
    assert_eq!(full["ExceptionsList"], ["*.local", "169.254/16"]);
    assert!(!full.contains_key("en0") && !full.contains_key("__SCOPED__"));
    for end in 0..whole.len() {
        for (key, values) in plist::read(&whole[..end]) {
            assert!(full[&key].starts_with(&values), "{end}: {key} {values:?}");
        }
    }
}

/// Other systems have no such settings.
#[cfg(not(any(target_os = "macos", windows)))]
#[test]
fn the_settings_of_this_system_name_no_proxy() {
    assert_eq!(read(), System::default());
}

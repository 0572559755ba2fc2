//! Property lists in XML, as Core Foundation writes them: the texts and numbers of a flat dictionary.
//!
//! This file does no I/O. Invariant: a list that is cut off or malformed yields the values before its fault, and no
//! others.

use std::collections::BTreeMap;

/// Reads the dictionary of a property list. Each key of the outermost dictionary has the texts and numbers of its
/// value. Keys whose value is a dictionary are left out, with all that is in them.
pub(super) fn read(xml: &str) -> BTreeMap<String, Vec<String>> {
    let (mut values, mut key, mut depth) = (BTreeMap::<_, Vec<_>>::new(), None, 0_usize);
    let mut rest = xml;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((tag, content)) = after.split_once('>') else { break };
        rest = content;
        match tag {
            "dict" => depth = depth.saturating_add(1),
            "/dict" => depth = depth.saturating_sub(1),
            "key" | "string" | "integer" => {
                let Some((text, after)) = content.split_once("</") else { break };
                rest = after;
                match (tag, depth, &key) {
                    ("key", 1, _) => key = Some(unescape(text)),
                    ("string" | "integer", 1, Some(key)) => {
                        values.entry(key.clone()).or_default().push(unescape(text));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    values
}

/// Returns a text without the entities that Core Foundation writes.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

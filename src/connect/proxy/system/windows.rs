//! Reads the proxies of Windows from the registry.
//!
//! This file only reads. `system.rs` knows what the values mean.

use windows_registry::CURRENT_USER;

use super::System;

/// Reads the settings of the current user. Returns `None` if the user has no proxy, or if the proxy is switched off.
pub(super) fn read() -> Option<System> {
    let settings = CURRENT_USER.open(r"Software\Microsoft\Windows\CurrentVersion\Internet Settings").ok()?;
    if settings.get_u32("ProxyEnable").ok()? == 0 {
        return None;
    }
    let server = settings.get_string("ProxyServer").ok()?;
    let exceptions = settings.get_string("ProxyOverride").unwrap_or_default();
    Some(System::of_windows(&server, &exceptions))
}

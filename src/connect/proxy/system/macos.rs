//! Reads the proxies of macOS from the dynamic store of the system.
//!
//! This file only reads. `system.rs` knows what the values mean. The dictionary is turned into a property list in XML,
//! because the arrays in it cannot be read without `unsafe` otherwise.

use system_configuration::core_foundation::base::TCFType;
use system_configuration::core_foundation::propertylist::{create_data, kCFPropertyListXMLFormat_v1_0};
use system_configuration::dynamic_store::SCDynamicStoreBuilder;

use super::System;

/// Reads the settings of the current network. Returns `None` if the system does not tell them.
pub(super) fn read() -> Option<System> {
    let proxies = SCDynamicStoreBuilder::new("handclasp").build()?.get_proxies()?;
    let xml = create_data(proxies.as_CFTypeRef(), kCFPropertyListXMLFormat_v1_0).ok()?;
    Some(System::of_macos(&String::from_utf8_lossy(xml.bytes())))
}

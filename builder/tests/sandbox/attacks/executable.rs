//! The program that watches over a build is out of its reach.

use std::fs;

use crate::place::{Place, try_run};

/// The escape of containers whose process keeps the runtime's executable open (CVE-2019-5736).
#[test]
fn of_the_monitor_is_out_of_reach() {
    let place = Place::new();
    let mut request = place.request("");
    request.argv = vec!["/proc/self/exe".into()];
    let error = try_run(&request).err().expect("it lies outside of the root");
    assert!(error.to_string().contains("EACCES"), "{error}");
    fs::write(place.path("layer/script"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(place.path("layer/script"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    request.argv = vec!["/script".into()];
    assert!(try_run(&request).is_err());
}

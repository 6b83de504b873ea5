//! Whether a user of the box belongs to a group, by `/etc/passwd` and `/etc/group`.

use std::fs;

/// Whether user `uid` is a listed member of group `gid`. Unreadable files mean no.
pub fn is_member(uid: u32, gid: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    member(&read("/etc/passwd"), &read("/etc/group"), uid, gid)
}

fn member(passwd: &str, group: &str, uid: u32, gid: u32) -> bool {
    let uid = uid.to_string();
    let gid = gid.to_string();
    let Some(name) = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    }) else {
        return false;
    };
    group.lines().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        fields.get(2) == Some(&gid.as_str())
            && fields
                .get(3)
                .is_some_and(|m| m.split(',').any(|m| m == name))
    })
}

#[cfg(test)]
mod tests {
    use super::member;

    #[test]
    fn f2_members_are_listed_by_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n";
        let group = "freehold:x:900:bob,ana\nother:x:901:bob\n";
        assert!(member(passwd, group, 1000, 900));
        assert!(!member(passwd, group, 1000, 901));
        assert!(!member(passwd, group, 0, 900));
        assert!(!member("", "", 0, 900));
    }
}

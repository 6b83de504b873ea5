//! A reader of one request, as strict as RFC 9112 allows and written without a look at the others: what the edge writes to
//! an app is held against it.

/// One request and nothing else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read<'a> {
    pub(super) target: &'a str,
    pub(super) fields: Vec<(&'a str, &'a str)>,
    pub(super) body: Vec<u8>,
}

impl<'a> Read<'a> {
    /// Of a name in lower case, as every one is that we write.
    pub(super) fn of(&self, name: &str) -> Vec<&'a str> {
        let named = self.fields.iter().filter(|(field, _)| *field == name);
        named.map(|(_, value)| *value).collect()
    }
}

/// The one request in these bytes; nothing where its end has not come.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Read<'_>>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    // A value may hold bytes beyond ASCII, and we check that it holds no others that matter.
    let head = &bytes[..end + 2];
    let (fields, target) = lines(head)?;
    let mut found = Read {
        target,
        fields,
        body: Vec::new(),
    };
    let rest = &bytes[end + 4..];
    let (lengths, codings) = (found.of("content-length"), found.of("transfer-encoding"));
    let left = match (&lengths[..], &codings[..]) {
        ([], []) => rest,
        ([length], []) => {
            let well = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let length = length.parse::<usize>().ok().filter(|_| well);
            let length = length.ok_or("a malformed length")?;
            let Some((body, left)) = rest.split_at_checked(length) else {
                return Ok(None);
            };
            found.body.extend_from_slice(body);
            left
        }
        ([], ["chunked"]) => match chunks(rest, &mut found.body)? {
            Some(left) => left,
            None => return Ok(None),
        },
        other => return Err(format!("framed by {other:?}")),
    };
    if left.is_empty() {
        Ok(Some(found))
    } else {
        Err(format!("{} bytes behind the request", left.len()))
    }
}

type Lines<'a> = (Vec<(&'a str, &'a str)>, &'a str);

fn lines(head: &[u8]) -> Result<Lines<'_>, String> {
    let mut bare = head.split(|byte| *byte == b'\n');
    let last = bare.next_back();
    let mut lines = Vec::new();
    for line in bare {
        let line = line.strip_suffix(b"\r").ok_or("a bare line feed")?;
        if line
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Err("a control character in the head".into());
        }
        lines.push(line);
    }
    if last != Some(b"") {
        return Err("a head that does not end with a line".into());
    }
    let [first, fields @ ..] = &lines[..] else {
        return Err("no line at all".into());
    };
    let first = std::str::from_utf8(first).map_err(|_| "a first line that is no text")?;
    let [method, target, "HTTP/1.1"] = first.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("the first line {first:?}"));
    };
    if !is_token(method) || target.is_empty() {
        return Err(format!("the first line {first:?}"));
    }
    let fields = fields.iter().map(|line| {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or("a line without a colon")?);
        let name = std::str::from_utf8(name).map_err(|_| "a name that is no text")?;
        // What is not text is not looked at.
        let value = std::str::from_utf8(&value[1..]).unwrap_or_default();
        match is_token(name) {
            true => Ok((name, value.trim_matches([' ', '\t']))),
            false => Err(format!("the name {name:?}")),
        }
    });
    Ok((fields.collect::<Result<_, String>>()?, target))
}

fn is_token(text: &str) -> bool {
    const OTHERS: &str = "!#$%&'*+-.^_`|~";
    let well = |letter: char| letter.is_ascii_alphanumeric() || OTHERS.contains(letter);
    !text.is_empty() && text.chars().all(well)
}

/// What stands behind the chunks, whose data goes into the body.
fn chunks<'a>(mut rest: &'a [u8], body: &mut Vec<u8>) -> Result<Option<&'a [u8]>, String> {
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let digits = std::str::from_utf8(&rest[..end]).unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("the chunk size {digits:?}"));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        let Some((data, behind)) = rest.split_at_checked(size) else {
            return Ok(None);
        };
        body.extend_from_slice(data);
        match behind {
            [b'\r', b'\n', behind @ ..] => rest = behind,
            [] | [b'\r'] => return Ok(None),
            _ => return Err("a chunk that is longer than its size".into()),
        }
    }
    // Trailers, and the empty line.
    if let Some(behind) = rest.strip_prefix(b"\r\n") {
        return Ok(Some(behind));
    }
    let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let trailers = [b"GET / HTTP/1.1\r\n", &rest[..end + 2]].concat();
    let (trailers, _) = lines(&trailers)?;
    for framing in [
        "content-length",
        "transfer-encoding",
        "host",
        "x-forwarded-for",
    ] {
        if trailers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(framing))
        {
            return Err(format!("the trailer {framing}"));
        }
    }
    Ok(Some(&rest[end + 4..]))
}

//! Names: what the name of a file says of it: its type, and whether its content can ever change. Pure.

/// The type of a file by its name, as `Content-Type` says it.
pub(super) fn content_type(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    match end.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" | "cjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "jsonld" => "application/ld+json",
        "geojson" => "application/geo+json",
        "xml" => "application/xml",
        "xhtml" => "application/xhtml+xml",
        "rss" => "application/rss+xml",
        "atom" => "application/atom+xml",
        "txt" | "text" | "log" => "text/plain; charset=utf-8",
        "md" | "markdown" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "ics" => "text/calendar; charset=utf-8",
        "vtt" => "text/vtt; charset=utf-8",
        "vcf" => "text/vcard; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "apng" => "image/apng",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "jxl" => "image/jxl",
        "ico" => "image/x-icon",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "ogv" => "video/ogg",
        "mov" => "video/quicktime",
        "m3u8" => "application/vnd.apple.mpegurl",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "zst" => "application/zstd",
        "epub" => "application/epub+zip",
        _ => "application/octet-stream",
    }
}

/// Whether a name holds a hash of the content, as bundlers write it: `app.3f2a9c1b.js`, `index-DgK3x9Qa.js`. Such a file
/// never changes: another content has another name.
///
/// In doubt it does not: a missed one is asked for again each time, one taken for it wrongly would stay old for a year.
pub(super) fn holds_a_hash(name: &str) -> bool {
    let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
    let Some((stem, end)) = file.rsplit_once('.') else {
        return false;
    };
    if content_type(file).starts_with("text/html") || end.is_empty() {
        return false;
    }
    stem.split(['.', '-', '_'])
        .enumerate()
        .any(|(at, piece)| match at {
            // A name that is nothing but a hash is a long one.
            0 => piece.len() >= 16 && is_hexadecimal(piece),
            _ => is_hexadecimal(piece) || is_mixed(piece),
        })
}

/// Eight hexadecimal digits or more of one case, letters and figures: no date, no word.
fn is_hexadecimal(piece: &str) -> bool {
    let of = |is: fn(&u8) -> bool| piece.bytes().any(|byte| is(&byte));
    (8..=64).contains(&piece.len())
        && piece.bytes().all(|byte| byte.is_ascii_hexdigit())
        && of(u8::is_ascii_digit)
        && of(u8::is_ascii_alphabetic)
        && !(of(u8::is_ascii_lowercase) && of(u8::is_ascii_uppercase))
}

/// Eight letters and figures, as Vite, Rollup and esbuild write them, that go to and fro too often for a word.
fn is_mixed(piece: &str) -> bool {
    let kind = |byte: u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        _ => 2,
    };
    let bytes = piece.as_bytes();
    bytes.len() == 8
        && bytes.iter().all(u8::is_ascii_alphanumeric)
        && bytes.iter().any(u8::is_ascii_digit)
        && bytes.iter().any(u8::is_ascii_uppercase)
        && bytes
            .windows(2)
            .filter(|pair| kind(pair[0]) != kind(pair[1]))
            .count()
            >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e6_names_with_a_hash_in_them_are_known_and_others_are_not() {
        for name in [
            "app.3f2a9c1b.js",
            "assets/index-DgK3x9Qa.js",
            "static/js/main.8d2f1c0a.chunk.js",
            "css/app.3f2a9c1b.css.map",
            "chunk-A1B2C3D4.js",
            "media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
            "_next/static/chunks/5d41402abc4b2a76b9719d911017c592.js",
            "style_0a1b2c3d4e5f.css",
        ] {
            assert!(holds_a_hash(name), "{name}");
        }
        for name in [
            "index.html",
            "index-3f2a9c1b.html",
            "app.js",
            "jquery-3.7.1.min.js",
            "photo-20240101.jpg",
            "report.20240101.pdf",
            "case-iPhone15.jpg",
            "my-component2x.js",
            "lib-JsonPath.js",
            "deadbeef.js",
            "a-deadbeef.js",
            "feedc0de.js",
            "3f2a9c1b/app.js",
            "favicon.ico",
            "robots.txt",
            "sw.js",
            "3f2a9c1b",
            "app.3f2a9c1b",
            "",
        ] {
            assert!(!holds_a_hash(name), "{name}");
        }
    }

    #[test]
    fn e6_types_follow_the_end_of_the_name() {
        assert_eq!(content_type("a/INDEX.HTML"), "text/html; charset=utf-8");
        assert_eq!(content_type("a.b/file"), "application/octet-stream");
        assert_eq!(content_type("app.wasm"), "application/wasm");
        assert_eq!(content_type("x.tar.gz"), "application/gzip");
    }
}

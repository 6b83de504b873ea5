//! Static site: a folder of files, served by the edge itself.
//!
//! The edge serves what the manifest lists, and nothing else: a path is looked up there, never walked to, and the file is
//! opened below the folder without following a link, so that one swapped in later leads nowhere. A file that is not as
//! the manifest saw it is served as it is now, without the tags of the old one, until the folder is read again.
//! When that is, and which folder a route has, is decided elsewhere.
mod conditions;
mod file_body;
#[cfg(freehold_fuzz)]
pub(super) mod fuzz;
mod manifest;
mod names;
mod place;
mod record;

use std::fmt;
use std::hash::BuildHasher;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::FixedState;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use rustix::fs::ResolveFlags;
use rustix::io::Errno;

use conditions::{Judged, Validators};
use file_body::FileBody;
pub use manifest::Unserved;
use manifest::{Files, Known, Listed, State};
use place::Astray;
use record::Record;

use super::body::EdgeBody;
use super::content_coding::{self, ContentCoding, Taken};
use super::error::EdgeError;
use super::error_page;
use super::policies::Policies;

const INDEX: &str = "index.html";
const NOT_FOUND: &str = "404.html";
/// What `Vary` says where a page of its own may be asked for.
const ACCEPT: &str = "accept";
/// Files that lie beside others with the same content, coded: the smaller ones first.
const BESIDE: [(ContentCoding, &str); 3] = [
    (ContentCoding::Brotli, ".br"),
    (ContentCoding::Zstd, ".zst"),
    (ContentCoding::Gzip, ".gz"),
];

/// A folder of files, as it was when it was read, and what of it is shown.
pub struct StaticSite {
    read: Arc<Read>,
    /// The folder in it that is shown, without a slash at either end; all of it, when it is empty.
    below: Box<str>,
    single_page: bool,
}

struct Read {
    folder: PathBuf,
    root: OwnedFd,
    files: Files,
    left_out: usize,
    /// Of the whole manifest: two states of one folder differ here too.
    sum: u64,
}

impl StaticSite {
    /// Reads a folder, with the digest of every file that is not large; blocks for as long as that takes.
    ///
    /// `single_page`: who navigates to a path that is no file gets the `index.html` of the folder.
    /// `previous`: the same folder read earlier; what did not change since is not read again.
    pub fn read(
        folder: &Path,
        single_page: bool,
        previous: Option<&StaticSite>,
    ) -> Result<StaticSite, Unserved> {
        let known = previous
            .filter(|previous| previous.read.folder == folder)
            .map_or(Known::Nothing, |previous| {
                Known::Earlier(&previous.read.files)
            });
        StaticSite::listed(folder, single_page, &known)
    }

    /// Reads a folder that nobody will change, every file of it, and writes what it found to `record`, a file outside
    /// of it.
    pub fn record(folder: &Path, single_page: bool, record: &Path) -> Result<StaticSite, Unserved> {
        let site = StaticSite::listed(folder, single_page, &Known::ToRecord)?;
        let written = Record::of(&site.read.files).write(record);
        written.map_err(|error| Unserved::Unrecorded {
            folder: folder.to_owned(),
            error,
        })?;
        Ok(site)
    }

    /// Reads the names of a folder, and takes from `record` what it says of files that look as they did.
    pub fn read_recorded(
        folder: &Path,
        single_page: bool,
        record: &Path,
    ) -> Result<StaticSite, Unserved> {
        match Record::read(record) {
            Some(record) => StaticSite::listed(folder, single_page, &Known::Recorded(&record)),
            None => StaticSite::listed(folder, single_page, &Known::Nothing),
        }
    }

    /// Whether the folder has what it had when it was recorded: at least one file, and every one that `record` names.
    pub fn check_whole(&self, record: &Path) -> Result<(), Unserved> {
        let record = Record::read(record).unwrap_or_default();
        let lacking = record.lacking(&self.read.files);
        match lacking == 0 && !self.read.files.is_empty() {
            true => Ok(()),
            false => Err(Unserved::NotWhole {
                folder: self.read.folder.clone(),
                lacking,
                of: record.len(),
            }),
        }
    }

    fn listed(folder: &Path, single_page: bool, known: &Known<'_>) -> Result<StaticSite, Unserved> {
        let listing = manifest::list(folder, known)?;
        Ok(StaticSite {
            read: Arc::new(Read {
                folder: folder.to_owned(),
                root: listing.root,
                sum: sum(&listing.files),
                files: listing.files,
                left_out: listing.left_out,
            }),
            below: Box::default(),
            single_page,
        })
    }

    /// The same folder, of which a route shows what lies `below` a folder in it, and nothing else. That one may not be
    /// there: then no path is a file.
    #[must_use]
    pub fn shown(&self, below: &str, single_page: bool) -> StaticSite {
        StaticSite {
            read: self.read.clone(),
            below: below.into(),
            single_page,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.read.folder
    }

    /// The folder in it that is shown; all of it when that is empty.
    pub fn below(&self) -> &str {
        &self.below
    }

    /// Files that are served.
    pub fn files(&self) -> usize {
        self.read.files.len()
    }

    /// Whether paths that are no file are its `index.html`'s.
    pub fn is_single_page(&self) -> bool {
        self.single_page
    }

    /// Names in the folder that are not served: dotfiles, symbolic links, devices, what the daemon may not read.
    pub fn left_out(&self) -> usize {
        self.read.left_out
    }

    /// Whether the other one would give the same answers.
    pub fn is_same(&self, other: &StaticSite) -> bool {
        self.read.folder == other.read.folder
            && self.below == other.below
            && self.single_page == other.single_page
            && self.read.files == other.read.files
    }

    /// The file of a name, as the whole folder has it.
    fn find(&self, name: &str) -> Option<(&str, &Listed)> {
        self.read
            .files
            .get_key_value(name)
            .map(|(name, listed)| (&**name, listed))
    }

    /// The file of a name, as paths have it: below what is shown.
    fn at(&self, name: &str) -> Option<(&str, &Listed)> {
        match &*self.below {
            "" => self.find(name),
            below => self.find(&format!("{below}/{name}")),
        }
    }

    fn index_of(&self, folder: &str) -> Option<(&str, &Listed)> {
        match folder {
            "" => self.at(INDEX),
            folder => self.at(&format!("{folder}/{INDEX}")),
        }
    }

    /// The coded files beside a file. One that is older than the file has the content of an earlier one.
    fn beside<'a>(
        &'a self,
        name: &'a str,
        listed: &'a Listed,
    ) -> impl Iterator<Item = (ContentCoding, &'a str, &'a Listed)> {
        BESIDE.iter().filter_map(move |(coding, end)| {
            let (name, coded) = self.find(&format!("{name}{end}"))?;
            let is_of_it = is_made_after(coded.state.modified, listed.state.modified);
            is_of_it.then_some((*coding, name, coded))
        })
    }
}

impl fmt::Debug for StaticSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticSite")
            .field("folder", &self.read.folder)
            .field("files", &self.read.files.len())
            .field("below", &self.below)
            .field("single_page", &self.single_page)
            .field("sum", &self.read.sum)
            .finish()
    }
}

/// Whether a coded file may be of this content, by when both were written last, in seconds and nanoseconds. What codes often
/// gives its file the date of the other, some to the second: then nothing more can be told.
fn is_made_after(coded: (i64, u64), plain: (i64, u64)) -> bool {
    coded >= plain || coded == (plain.0, 0)
}

fn sum(files: &Files) -> u64 {
    let hasher = FixedState::default();
    let of = |(name, listed): (_, &Listed)| hasher.hash_one((name, listed.digest, listed.state));
    files.iter().map(of).fold(0, u64::wrapping_add)
}

/// What is answered, before a file is opened.
struct Chosen<'a> {
    status: StatusCode,
    name: &'a str,
    listed: &'a Listed,
}

/// What besides the file decides how it is answered.
struct Manner {
    /// Whether another `Accept` gets another answer.
    by_accept: bool,
    /// Whether not everybody is served: no cache may keep it for others.
    guarded: bool,
}

impl Manner {
    fn cache_control(&self, name: &str) -> &'static str {
        match (self.guarded, names::holds_a_hash(name)) {
            (false, true) => "public, max-age=31536000, immutable",
            (false, false) => "no-cache",
            (true, true) => "private, max-age=31536000, immutable",
            (true, false) => "private, no-cache",
        }
    }
}

pub(super) async fn answer(
    site: &Arc<StaticSite>,
    prefix: &str,
    parts: &Parts,
    id: &HeaderValue,
    policies: &Policies,
) -> Result<Response<EdgeBody>, EdgeError> {
    let page = |error: &EdgeError| {
        let accept = parts.headers.get(header::ACCEPT);
        Ok(error_page::render(error, accept, id, Some(policies)))
    };
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return page(&EdgeError::ReadOnly);
    }
    let chosen = match place::place(parts.uri.path(), prefix) {
        Err(Astray::Malformed(what)) => return Err(EdgeError::BadRequest(what)),
        Err(Astray::Nowhere) => None,
        Ok(place) if place.is_folder => site.index_of(&place.name),
        Ok(place) => match site.at(&place.name) {
            None if site.index_of(&place.name).is_some() => return Ok(to_the_folder(parts)),
            found => found,
        },
    };
    let falls_back = chosen.is_none() && site.single_page && may_be_a_page(parts);
    let manner = Manner {
        by_accept: falls_back,
        guarded: policies.guards(),
    };
    let fallback = || {
        (falls_back && wants_pages(parts))
            .then(|| site.index_of(""))
            .flatten()
    };
    let found = chosen.or_else(fallback).map(|(name, listed)| Chosen {
        status: StatusCode::OK,
        name,
        listed,
    });
    if let Some(chosen) = found
        && let Some(response) = serve(site, parts, chosen, &manner).await?
    {
        return Ok(response);
    }
    if let Some((name, listed)) = site.at(NOT_FOUND) {
        let own = Chosen {
            status: StatusCode::NOT_FOUND,
            name,
            listed,
        };
        if let Some(response) = serve(site, parts, own, &manner).await? {
            return Ok(response);
        }
    }
    let mut response = page(&EdgeError::NoFile)?;
    if manner.by_accept {
        let value = HeaderValue::from_static(ACCEPT);
        response.headers_mut().append(header::VARY, value);
    }
    Ok(response)
}

/// Whether the path is one of a page: its last part has no dot.
fn may_be_a_page(parts: &Parts) -> bool {
    let last = parts.uri.path().rsplit_once('/');
    !last.is_some_and(|(_, last)| last.contains('.'))
}

/// Whether a browser goes to a page, as opposed to fetching something for one.
fn wants_pages(parts: &Parts) -> bool {
    parts.headers.get_all(header::ACCEPT).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|part| {
            let kind = part.split(|byte| *byte == b';').next().unwrap_or_default();
            kind.trim_ascii().eq_ignore_ascii_case(b"text/html")
        })
    })
}

/// To the same path with a slash. It begins with the name of a folder that we have, so that it leads to no other host.
fn to_the_folder(parts: &Parts) -> Response<EdgeBody> {
    let query = parts
        .uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let mut response = empty(StatusCode::PERMANENT_REDIRECT, HeaderMap::new());
    if let Ok(location) = HeaderValue::try_from(format!("{}/{query}", parts.uri.path())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The answer with a file; nothing where it is gone.
async fn serve(
    site: &Arc<StaticSite>,
    parts: &Parts,
    chosen: Chosen<'_>,
    manner: &Manner,
) -> Result<Option<Response<EdgeBody>>, EdgeError> {
    let Chosen {
        status,
        name,
        listed,
    } = chosen;
    let coded: Vec<_> = site.beside(name, listed).collect();
    let best = (!coded.is_empty())
        .then(|| Taken::of(&parts.headers).best(coded.iter().map(|(coding, ..)| *coding)))
        .flatten()
        .and_then(|best| coded.iter().find(|(coding, ..)| *coding == best));
    let (coding, file_name, file) = match best {
        Some((coding, name, listed)) => (Some(*coding), *name, *listed),
        None => (None, name, listed),
    };
    let etag = etag(&file.digest);
    let modified = conditions::second(file.state.modified.0);
    let judged = if status == StatusCode::OK {
        let of = Validators {
            etag: &etag,
            modified,
        };
        conditions::judge(&parts.method, &parts.headers, &of, file.state.length)
    } else {
        Judged::Whole
    };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(manner.cache_control(name)),
    );
    if manner.by_accept {
        headers.insert(header::VARY, HeaderValue::from_static(ACCEPT));
    }
    if !coded.is_empty() {
        content_coding::varies(&mut headers);
    }
    if status == StatusCode::OK {
        if let Ok(etag) = HeaderValue::try_from(&etag) {
            headers.insert(header::ETAG, etag);
        }
        if let Some(modified) = conditions::written(modified) {
            headers.insert(header::LAST_MODIFIED, modified);
        }
    }
    let (status, first, count) = match judged {
        Judged::NotModified => {
            return Ok(Some(with_body(
                StatusCode::NOT_MODIFIED,
                headers,
                EdgeBody::empty(),
            )));
        }
        Judged::Failed => {
            return Ok(Some(empty(StatusCode::PRECONDITION_FAILED, headers)));
        }
        Judged::Unsatisfiable => {
            headers.insert(
                header::CONTENT_RANGE,
                content_range("*", file.state.length)?,
            );
            return Ok(Some(empty(StatusCode::RANGE_NOT_SATISFIABLE, headers)));
        }
        Judged::Part(first, last) => {
            let range = content_range(&format!("{first}-{last}"), file.state.length)?;
            headers.insert(header::CONTENT_RANGE, range);
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Judged::Whole => (status, 0, file.state.length),
    };
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(names::content_type(name)),
    );
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, coding.value());
    }
    if status != StatusCode::NOT_FOUND {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    if parts.method == Method::HEAD {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(count));
        return Ok(Some(with_body(status, headers, EdgeBody::empty())));
    }
    match open(site, file_name).await? {
        None => Ok(None),
        Some((opened, state)) if state == file.state => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(count));
            let body = FileBody::new(opened, state, first, count);
            Ok(Some(with_body(status, headers, EdgeBody::foreign(body))))
        }
        // The manifest's words are another file's.
        Some(_) => unlisted(site, name, status).await,
    }
}

/// A file that was changed since the folder was read: as it is now, to be kept by nobody.
async fn unlisted(
    site: &Arc<StaticSite>,
    name: &str,
    status: StatusCode,
) -> Result<Option<Response<EdgeBody>>, EdgeError> {
    let Some((opened, state)) = open(site, name).await? else {
        return Ok(None);
    };
    let status = match status {
        StatusCode::PARTIAL_CONTENT => StatusCode::OK,
        status => status,
    };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(names::content_type(name)),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(state.length));
    let body = FileBody::new(opened, state, 0, state.length);
    Ok(Some(with_body(status, headers, EdgeBody::foreign(body))))
}

/// Opens a file of the manifest; nothing where there is none any more, or something else.
async fn open(site: &Arc<StaticSite>, name: &str) -> Result<Option<(OwnedFd, State)>, EdgeError> {
    // Where the kernel has the way in memory this takes no disk; one too old to tell (before 5.12) says INVAL.
    let opened = match manifest::open(site.read.root.as_fd(), name, ResolveFlags::CACHED) {
        Err(Errno::AGAIN | Errno::INVAL) => {
            let (site, name) = (site.clone(), name.to_owned());
            let opening = tokio::task::spawn_blocking(move || {
                manifest::open(site.read.root.as_fd(), &name, ResolveFlags::empty())
            });
            opening.await.unwrap_or(Err(Errno::IO))
        }
        opened => opened,
    };
    match opened {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file).map_err(|_| EdgeError::FileUnreadable)?;
            Ok(State::of(&stat).map(|state| (file, state)))
        }
        Err(Errno::NFILE | Errno::MFILE | Errno::NOMEM | Errno::IO) => {
            Err(EdgeError::FileUnreadable)
        }
        Err(_) => Ok(None),
    }
}

/// In quotes, as the field has it.
fn etag(digest: &[u8; 16]) -> String {
    let mut etag = String::with_capacity(34);
    etag.push('"');
    etag.push_str(&hex::encode(digest));
    etag.push('"');
    etag
}

fn content_range(range: &str, length: u64) -> Result<HeaderValue, EdgeError> {
    HeaderValue::try_from(format!("bytes {range}/{length}")).map_err(|_| EdgeError::FileUnreadable)
}

/// With its length said over HTTP/2 too.
fn empty(status: StatusCode, mut headers: HeaderMap) -> Response<EdgeBody> {
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    with_body(status, headers, EdgeBody::empty())
}

fn with_body(status: StatusCode, headers: HeaderMap, body: EdgeBody) -> Response<EdgeBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

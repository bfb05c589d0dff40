//! An embedded file, as it is served: in the form that the client accepts, and once only to a client that keeps it.

use std::{
    io::{self, Read, Write},
    sync::OnceLock,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use super::encoding::Encoding;
use crate::problem::Problem;

/// How long a browser may use a file without asking.
#[derive(Debug, Clone, Copy)]
pub enum Freshness {
    /// For ever: the path has the hash of the content in it.
    Immutable,
    /// Not at all: it asks whether its copy is still the one.
    Checked,
}

/// A file.
#[derive(Debug)]
pub struct Asset {
    content_type: &'static str,
    freshness: Freshness,
    /// A hash over the content, which tells two contents apart.
    tag: String,
    /// The compressed forms, the best first.
    compressed: Vec<(Encoding, Bytes)>,
    plain: OnceLock<Bytes>,
}

impl Asset {
    /// A small file, which is embedded as it is.
    pub fn plain(name: &str, content: Bytes, freshness: Freshness) -> Self {
        let gzip = compress(&content).map(|gzip| (Encoding::Gzip, gzip));
        Self {
            content_type: content_type(name),
            freshness,
            tag: format!("{:016x}", fingerprint(&content)),
            compressed: gzip.into_iter().collect(),
            plain: content.into(),
        }
    }

    /// A large file, which is embedded in two compressed forms.
    pub fn compressed(name: &str, brotli: &'static [u8], gzip: &'static [u8], freshness: Freshness) -> Self {
        let forms = [(Encoding::Brotli, brotli), (Encoding::Gzip, gzip)];
        Self {
            content_type: content_type(name),
            freshness,
            tag: format!("{:016x}", fingerprint(gzip)),
            compressed: forms.map(|(encoding, form)| (encoding, Bytes::from_static(form))).into(),
            plain: OnceLock::new(),
        }
    }

    /// The answer to a request with these headers.
    pub fn respond(&self, request: &HeaderMap) -> Response {
        let encoding = Encoding::choose(request, self.compressed.iter().map(|&(encoding, _)| encoding));
        // Each form is a representation of its own, with a tag of its own (RFC 9110, section 8.8.3.3).
        let tag = format!("\"{}-{}\"", self.tag, encoding.name().unwrap_or("plain"));
        let mut response = match is_known(request, &tag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => match self.content(encoding) {
                Ok(content) => ([(header::CONTENT_TYPE, self.content_type)], content).into_response(),
                Err(error) => return Problem::internal(&error).into_response(),
            },
        };
        let is_whole = response.status() == StatusCode::OK;
        let headers = response.headers_mut();
        if let Some(name) = encoding.name().filter(|_| is_whole) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        headers.extend(HeaderValue::from_str(&tag).map(|tag| (header::ETAG, tag)));
        headers.insert(header::CACHE_CONTROL, self.freshness.cache_control());
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        response
    }

    fn content(&self, encoding: Encoding) -> io::Result<Bytes> {
        let form = self.compressed.iter().find(|(one, _)| *one == encoding);
        form.map_or_else(|| self.decompressed(), |(_, form)| Ok(form.clone()))
    }

    /// The content as it is. Hardly anybody asks for a large one, so it is made then, once.
    fn decompressed(&self) -> io::Result<Bytes> {
        if let Some(plain) = self.plain.get() {
            return Ok(plain.clone());
        }
        let gzip = self.compressed.iter().find(|(encoding, _)| *encoding == Encoding::Gzip);
        let (_, gzip) = gzip.ok_or_else(|| io::Error::other("there is no form to decompress"))?;
        let mut plain = Vec::new();
        GzDecoder::new(&**gzip).read_to_end(&mut plain)?;
        Ok(self.plain.get_or_init(|| plain.into()).clone())
    }
}

impl Freshness {
    fn cache_control(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::Checked => "no-cache",
        })
    }
}

/// Whether the client has it already (`If-None-Match`, compared weakly: a gateway that compresses weakens the tag).
pub(crate) fn is_known(request: &HeaderMap, tag: &str) -> bool {
    let values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

/// FNV-1a (Fowler, Noll, Vo) with 64 bits. The contents are our own, so nobody looks for two with the same one.
pub fn fingerprint<'a>(content: impl IntoIterator<Item = &'a u8>) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    content.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// None where it cannot be compressed; then it is served as it is.
fn compress(content: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).and_then(|()| encoder.finish()).ok().map(Bytes::from)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("ttf") => "font/ttf",
        _ => "application/octet-stream",
    }
}

//! The console's pages, embedded: the table of their files, and how they are sent.

use std::hash::{DefaultHasher, Hasher as _};

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// One file.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal $content_type:ident,)+) => {
        /// All of them, the page itself first.
        const ASSETS: &[Asset] = &[
            $(Asset {
                name: $name,
                content_type: $content_type,
                bytes: include_bytes!(concat!("assets/", $name)),
            },)+
        ];
    };
}

assets! {
    "index.html" HTML,
    "api.js" SCRIPT,
    "app-form.js" SCRIPT,
    "app-snippets.js" SCRIPT,
    "apps.js" SCRIPT,
    "channels.js" SCRIPT,
    "charts.js" SCRIPT,
    "connections.js" SCRIPT,
    "controls.css" CSS,
    "create.js" SCRIPT,
    "difference.js" SCRIPT,
    "dom.js" SCRIPT,
    "early.js" SCRIPT,
    "entry.js" SCRIPT,
    "feed.js" SCRIPT,
    "filter.js" SCRIPT,
    "format.js" SCRIPT,
    "health.js" SCRIPT,
    "history.js" SCRIPT,
    "icon.svg" SVG,
    "inspector.js" SCRIPT,
    "journal.js" SCRIPT,
    "json.js" SCRIPT,
    "keys.js" SCRIPT,
    "layout.css" CSS,
    "live.js" SCRIPT,
    "login.js" SCRIPT,
    "main.js" SCRIPT,
    "notices.js" SCRIPT,
    "plot.js" SCRIPT,
    "refresher.js" SCRIPT,
    "route.js" SCRIPT,
    "rows.js" SCRIPT,
    "sections.css" CSS,
    "server.js" SCRIPT,
    "signature.js" SCRIPT,
    "snippets.js" SCRIPT,
    "sources.js" SCRIPT,
    "storage.js" SCRIPT,
    "table.js" SCRIPT,
    "theme.css" CSS,
    "theme.js" SCRIPT,
}

impl Asset {
    /// As long as it is the same, a browser need not load it again.
    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.bytes);
        format!("\"{:016x}\"", hasher.finish())
    }

    fn send(&self, request: &HttpRequest) -> HttpResponse {
        let tag = self.tag();
        let known = request.headers().get(IF_NONE_MATCH);
        let is_known = known
            .and_then(|known| known.to_str().ok())
            .is_some_and(|known| known.split(',').any(|known| known.trim() == tag));
        let mut response = match is_known {
            true => HttpResponse::NotModified(),
            false => HttpResponse::Ok(),
        };
        response
            .insert_header((ETAG, tag))
            .insert_header((CACHE_CONTROL, "no-cache"));
        if is_known {
            return response.finish();
        }
        response.content_type(self.content_type).body(self.bytes)
    }
}

/// To the page, from wherever this port is mounted.
pub(in crate::admin) async fn begin() -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header(("Location", "/console/"))
        .finish()
}

/// `GET /console/`
pub(super) async fn index(request: HttpRequest) -> HttpResponse {
    ASSETS[0].send(&request)
}

/// `GET /console/{file}`
pub(super) async fn file(request: HttpRequest, name: Path<String>) -> HttpResponse {
    match ASSETS.iter().find(|asset| asset.name == *name) {
        Some(asset) => asset.send(&request),
        None => HttpResponse::NotFound()
            .content_type("text/plain; charset=utf-8")
            .body("No such file of the console; it begins at /console/\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_has_every_file_of_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/console/assets");
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let listed = ASSETS.iter().map(|asset| asset.name.to_owned());
        assert_eq!(listed.collect::<BTreeSet<_>>(), names.collect());
        assert_eq!(ASSETS[0].name, "index.html");
    }
}

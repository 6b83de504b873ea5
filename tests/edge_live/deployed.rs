//! E6: policies in the freehold.toml of an app that is deployed, and a domain's own before them, by command line and API.
//! The app is a folder of files, which needs no engine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::world::World;

const SHOP: &str = "shop.localhost";

const SITE: &[(&str, &str)] = &[
    ("dist/index.html", "<h1>home</h1>"),
    ("dist/secret.txt", "secret"),
    ("dist/docs/index.html", "<h1>docs</h1>"),
    ("dist/docs/a.txt", "a"),
    ("dist/docs/404.html", "<h1>no such page of the docs</h1>"),
    ("dist/404.html", "<h1>no such page</h1>"),
];

/// A box with the app shop, which nothing is deployed of yet.
fn shop() -> World {
    let mut world = World::start("[hold]\ntime = \"1s\"\n[deploy]\nwatch = \"1s\"\n");
    world.trust_the_box();
    world.cli(&["app", "create", "shop"]);
    world.cli(&["domain", "add", "shop", SHOP]);
    world
}

impl World {
    /// A tree of the site with this freehold.toml.
    fn tree(&self, settings: &str) -> PathBuf {
        let tree = self.folder().join("tree");
        fs::remove_dir_all(&tree).ok();
        for (name, content) in SITE {
            let at = tree.join(name);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, content).unwrap();
        }
        fs::write(tree.join("freehold.toml"), settings).unwrap();
        tree
    }

    fn deploy(&self, tree: &Path) -> (bool, String) {
        self.try_cli(&["deploy", tree.to_str().unwrap(), "--app", "shop"])
    }

    #[track_caller]
    fn deploy_well(&self, settings: &str) {
        let (ended_well, said) = self.deploy(&self.tree(settings));
        assert!(ended_well, "{said}");
    }
}

#[test]
fn e6_an_app_files_policies_come_and_go_with_its_deploys_and_a_domains_own_go_before_them() {
    let world = shop();
    world.deploy_well(
        "[build]\nstatic = \"dist\"\n[processes.web.route]\n\
         redirects = [{ path = \"/old\", to = \"/docs\", status = 302 }]\n\
         answer_headers = { set = { x-frame-options = \"DENY\", x-robots-tag = \"noindex\" } }\n\
         rate_limit = { requests = 1000, per = \"day\" }\n\
         deny = [\"127.0.0.2\"]\nerror_pages = { \"403\" = \"<h1>Not you</h1>\" }\n",
    );
    let ask = |path: &'static str| world.get(SHOP, path);
    let home = world.until_status(|| ask("/"), 200);
    assert_eq!(home.field("x-frame-options"), "DENY", "{home}");
    assert_eq!(home.field("x-robots-tag"), "noindex");
    assert_eq!(
        home.field("ratelimit-policy"),
        "\"requests\";q=1000;w=86400"
    );
    let sent = ask("/old/a.txt").send().unwrap();
    assert_eq!(sent.status, 302, "{sent}");
    assert!(sent.field("location").ends_with("/docs/a.txt"), "{sent}");
    let refused = ask("/").from("127.0.0.2").for_a_page().send().unwrap();
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (403, "<h1>Not you</h1>")
    );
    // Key by key, at once, without a deploy.
    world.cli(&[
        "domain",
        "set",
        "shop",
        SHOP,
        "--rate",
        "5/hour",
        "--deny",
        "192.0.2.1",
    ]);
    let own = world.until(
        "the domain's own",
        || ask("/").from("127.0.0.2"),
        |a| a.status == 200,
    );
    assert_eq!(
        own.field("ratelimit-policy"),
        "\"requests\";q=5;w=3600",
        "{own}"
    );
    assert_eq!(own.field("x-frame-options"), "DENY", "{own}");
    world.cli(&["domain", "set", "shop", SHOP, "--reset", "all"]);
    world.until_status(|| ask("/").from("127.0.0.2"), 403);
    // The next release has others.
    world.deploy_well(
        "[build]\nstatic = \"dist\"\n[processes.web.route]\nanswer_headers = { set = { x-frame-options = \"SAMEORIGIN\" } }\n",
    );
    let next = world.until(
        "the next release's",
        || ask("/").from("127.0.0.2"),
        |a| a.status == 200,
    );
    assert_eq!(next.field("x-frame-options"), "SAMEORIGIN", "{next}");
    assert_eq!(next.field("ratelimit-policy"), "", "{next}");
    world.cli(&["rollback", "shop"]);
    world.until_status(|| ask("/").from("127.0.0.2"), 403);
}

#[test]
fn e6_a_domain_shows_a_folder_of_the_release_and_nothing_beside_it() {
    let world = shop();
    world.deploy_well("[build]\nstatic = \"dist\"\nsingle_page = true\n");
    let ask = |path: &'static str| world.get(SHOP, path);
    let page = |path: &'static str| world.get(SHOP, path).for_a_page();
    let home = world.until_status(|| page("/cart"), 200);
    assert_eq!(home.text(), "<h1>home</h1>");
    assert_eq!(ask("/secret.txt").send().unwrap().text(), "secret");

    let said = world.cli(&[
        "domain",
        "set",
        "shop",
        SHOP,
        "--static",
        "docs",
        "--single-page=false",
    ]);
    assert!(
        said.contains("Only the folder docs of the release's folder is served."),
        "{said}"
    );
    let docs = world.until("the docs", || ask("/"), |a| a.text() == "<h1>docs</h1>");
    assert_eq!(docs.status, 200);
    let file = ask("/a.txt").send().unwrap();
    let tag = file.field("etag");
    assert_eq!((file.status, file.text().as_str()), (200, "a"));
    let again = ask("/a.txt").field("If-None-Match", &tag).send().unwrap();
    assert_eq!(again.status, 304, "{again}");
    for path in [
        "/secret.txt",
        "/docs/a.txt",
        "/index.htm",
        "/docs/",
        "/cart",
    ] {
        let answer = page(path).send().unwrap();
        assert_eq!(answer.status, 404, "{path}: {answer}");
        assert_eq!(answer.text(), "<h1>no such page of the docs</h1>", "{path}");
    }
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/%2e%2e/%2e%2e/master.key",
    ] {
        assert_eq!(ask(path).send().unwrap().status, 400, "{path}");
    }
    world.cli(&["domain", "set", "shop", SHOP, "--single-page"]);
    let fallback = world.until_status(|| page("/cart"), 200);
    assert_eq!(fallback.text(), "<h1>docs</h1>");

    // Only what is inside of the release, and what is there.
    for (folder, words) in [
        ("/etc", "no folder of the app's release"),
        ("..", "no folder of the app's release"),
        ("docs/../..", "no folder of the app's release"),
        (".git", "no folder of the app's release"),
        ("dcos", "v1 has no folder dcos"),
        ("secret.txt", "v1 has no folder secret.txt"),
    ] {
        let (succeeded, said) = world.try_cli(&["domain", "set", "shop", SHOP, "--static", folder]);
        assert!(
            !succeeded && said.contains("static: ") && said.contains(words),
            "{folder}: {said}"
        );
    }
    assert_eq!(page("/cart").send().unwrap().text(), "<h1>docs</h1>");
    world.cli(&[
        "domain",
        "set",
        "shop",
        SHOP,
        "--reset",
        "static",
        "--policy",
        "single_page = false",
    ]);
    world.until("all of it", || ask("/secret.txt"), |a| a.text() == "secret");
    assert_eq!(
        page("/cart").send().unwrap().text(),
        "<h1>no such page</h1>"
    );
}

#[test]
fn e6_an_app_file_names_a_folder_that_is_there_or_does_not_go_live() {
    let world = shop();
    let route = |folder: &str| {
        format!(
            "[build]\nstatic = \"dist\"\n[processes.web.route]\nstatic = \"{folder}\"\nsingle_page = true\n"
        )
    };
    world.deploy_well(&route("docs"));
    let ask = || world.get(SHOP, "/cart").for_a_page();
    let shown = world.until_status(ask, 200);
    assert_eq!(shown.text(), "<h1>docs</h1>");
    for (settings, words) in [
        (route("dcos"), "there is no such folder in dist"),
        (route("../.."), "no folder of the app's release"),
        (
            "[processes.web]\nport = 80\n[processes.web.route]\nstatic = \"docs\"\n".to_owned(),
            "add static = \"dist\" under [build]",
        ),
    ] {
        let (ended_well, said) = world.deploy(&world.tree(&settings));
        assert!(!ended_well && said.contains(words), "{said}");
        assert_eq!(ask().send().unwrap().text(), "<h1>docs</h1>");
    }
    // A domain's own goes before it.
    world.cli(&["domain", "set", "shop", SHOP, "--static", "."]);
    world.until("all of it", ask, |a| a.text() == "<h1>home</h1>");
}

#[test]
fn e6_a_folder_is_deployed_as_a_site_by_command_line_and_api_without_a_word_of_its_own() {
    let world = shop();
    let tree = world.tree("");
    fs::remove_file(tree.join("freehold.toml")).unwrap();
    let at = tree.to_str().unwrap();
    let deploy = |more: &[&str]| world.try_cli(&[&["deploy", at, "--app", "shop"], more].concat());
    let (ended_well, said) = deploy(&[]);
    assert!(
        !ended_well && said.contains("there is no Dockerfile"),
        "{said}"
    );
    let (ended_well, said) = deploy(&["--static", "dist", "--single-page"]);
    assert!(ended_well, "{said}");
    let page = |path: &'static str| world.get(SHOP, path).for_a_page();
    let shown = world.until_status(|| page("/cart"), 200);
    assert_eq!(shown.text(), "<h1>home</h1>");
    // What is said with the deploy holds for it alone, and goes before the file's.
    world.tree("[build]\nstatic = \"dist\"\nsingle_page = true\n[processes.web.route]\nanswer_headers = { set = { x-a = \"1\" } }\n");
    let (ended_well, said) = deploy(&["--static", "dist/docs", "--single-page=false"]);
    assert!(ended_well, "{said}");
    let docs = world.until("the docs", || page("/"), |a| a.text() == "<h1>docs</h1>");
    assert_eq!(docs.field("x-a"), "1", "{docs}");
    assert_eq!(page("/cart").send().unwrap().status, 404);
    let (ended_well, said) = deploy(&[]);
    assert!(ended_well, "{said}");
    world.until_status(|| page("/cart"), 200);
    for (settings, folder, words) in [
        ("", "none", "none"),
        ("", "../..", "static must be a path inside"),
        ("", "/etc", "static must be a path inside"),
        (
            "[processes.web]\nport = 80\n",
            "dist",
            "this deploy was to be a folder of files",
        ),
    ] {
        world.tree(settings);
        let (ended_well, said) = deploy(&["--static", folder]);
        assert!(!ended_well && said.contains(words), "{folder}: {said}");
    }
    assert_eq!(page("/cart").send().unwrap().text(), "<h1>home</h1>");
}

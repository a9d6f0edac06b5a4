//! What a web.config may not write, because a level above has locked it.

use super::*;

#[test]
fn a_lock_at_one_place_is_none_at_another_that_shares_the_folder() {
    let host = HOST.replace(r"C:\blog", r"C:\shop");
    let text =
        web_server("<staticContent><mimeMap fileExtension='.x' mimeType='a/b' /></staticContent>");
    let [shop, _, blog] = errors(&tree_of(&host, &[(r"C:\shop\web.config", &text)]))
        .map(|error| error.map(str::to_owned));
    assert!(blog.is_some() && shop.is_none(), "{shop:?} {blog:?}");
}

#[test]
fn a_locked_section_cannot_be_used_in_a_web_config() {
    let locked = web_server("<serverRuntime frequentHitThreshold='1' />");
    let found = tree(&[(r"C:\blog\web.config", &locked)]);
    let [shop, _, blog] = errors(&found);
    assert!(
        blog.is_some_and(|e| e.contains("This configuration section cannot be used at this path"))
    );
    assert_eq!(shop, None);
    let by_location =
        web_server("<staticContent><mimeMap fileExtension='.x' mimeType='a/b' /></staticContent>");
    let found = tree(&[
        (r"C:\blog\web.config", &by_location),
        (r"C:\shop\web.config", &by_location),
    ]);
    let [shop, _, blog] = errors(&found);
    assert!(blog.is_some() && shop.is_none(), "{shop:?} {blog:?}");
    let host =
        "<configuration><system.applicationHost><sites /></system.applicationHost></configuration>";
    assert!(errors(&tree(&[(r"C:\blog\web.config", host)]))[2].is_some());
}

#[test]
fn a_lock_holds_also_for_a_section_that_is_only_declared() {
    let declared = "<sectionGroup name=\"security\"><sectionGroup name=\"authentication\">\
                    <section name=\"anonymousAuthentication\" overrideModeDefault=\"Deny\" />\
                    </sectionGroup></sectionGroup>\n      <section name=\"caching\"";
    let host = HOST.replace("<section name=\"caching\"", declared);
    let text = web_server(
        "<security><authentication><anonymousAuthentication enabled='false' /></authentication></security>",
    );
    let files = [(r"C:\blog\web.config", text.as_str())];
    let found = tree_of(&host, &files);
    let [shop, _, blog] = errors(&found);
    let blog = blog.unwrap_or_default();
    assert!(
        blog.contains(r"C:\blog\web.config: line 2: ")
            && blog.contains("cannot be used at this path"),
        "{blog}"
    );
    assert_eq!(shop, None);
    let allowed = "<location path=\"Blog\" overrideMode=\"Allow\"><system.webServer><security><authentication>\
                   <anonymousAuthentication enabled=\"true\" /></authentication></security></system.webServer>\
                   </location></configuration>";
    let unlocked = host.replace("</configuration>", allowed);
    assert_eq!(errors(&tree_of(&unlocked, &files))[2], None);
    let host_only = unlocked.replace(
        "\"anonymousAuthentication\" overrideModeDefault=\"Deny\"",
        "\"anonymousAuthentication\" allowDefinition=\"AppHostOnly\"",
    );
    assert!(errors(&tree_of(&host_only, &files))[2].is_some());
}

#[test]
fn a_locked_attribute_cannot_be_set_and_its_neighbours_can() {
    let locked = web_server("<caching enableKernelCache='false' />");
    let found = tree(&[(r"C:\blog\web.config", &locked)]);
    assert!(
        errors(&found)[2].is_some_and(|e| e.contains("attribute \"enableKernelCache\" is locked"))
    );
    let free = web_server("<caching enabled='false' />");
    let found = tree(&[(r"C:\blog\web.config", &free)]);
    assert_eq!(errors(&found)[2], None);
    assert!(!applications(&found)[2].settings.caching.enabled);
}

#[test]
fn locked_elements_and_items_stay() {
    let host = HOST.replace(
        "<defaultDocument>",
        "<defaultDocument lockElements='files'>",
    );
    let text = web_server("<defaultDocument><files><clear /></files></defaultDocument>");
    let found = tree_of(&host, &[(r"C:\blog\web.config", &text)]);
    assert!(errors(&found)[2].is_some_and(|e| e.contains("element <files> is locked")));
    let host = HOST.replace(
        "value=\"server.htm\"",
        "value=\"server.htm\" lockItem=\"true\"",
    );
    let found = tree_of(&host, &[(r"C:\blog\web.config", &text)]);
    assert!(errors(&found)[2].is_some_and(|e| e.contains("an item is locked")));
}

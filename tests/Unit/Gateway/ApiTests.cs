using System.Net;
using System.Net.Http.Json;
using System.Net.ServerSentEvents;
using System.Text;
using System.Text.Json;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Gateway;

public sealed class ApiTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public async Task Without_the_operator_token_nothing_is_told_or_done()
    {
        foreach (var token in new[] { null, "", "wrong" })
        {
            using var answer = await server.Client(token is "" ? null : token).GetAsync("/api/v1/status");
            Assert.Equal((HttpStatusCode.Unauthorized, "api.unauthorized"), (answer.StatusCode, await RunningServer.CodeAsync(answer)));
        }
    }

    [Fact]
    public async Task The_description_is_served_and_names_every_command()
    {
        var document = await server.Client(null).GetFromJsonAsync<JsonElement>("/openapi/v1.json");
        var paths = document.GetProperty("paths").EnumerateObject().Select(path => path.Name).ToHashSet();
        foreach (var path in new[]
        {
            "/api/v1/clusters", "/api/v1/clusters/{cluster}", "/api/v1/clusters/{cluster}/hosts", "/api/v1/clusters/{cluster}/modules",
            "/api/v1/clusters/{cluster}/modules/{module}", "/api/v1/clusters/{cluster}/modules/{module}/start",
            "/api/v1/clusters/{cluster}/modules/{module}/stop", "/api/v1/clusters/{cluster}/modules/{module}/swap",
            "/api/v1/clusters/{cluster}/modules/{module}/restart", "/api/v1/clusters/{cluster}/modules/{module}/stopstart",
            "/api/v1/clusters/{cluster}/modules/{module}/prim", "/api/v1/clusters/{cluster}/modules/{module}/second",
            "/api/v1/clusters/{cluster}/modules/{module}/full-resync", "/api/v1/clusters/{cluster}/modules/{module}/policy", "/api/v1/status", "/api/v1/watch",
        })
            Assert.Contains(path, paths);
    }

    [Theory]
    [InlineData("POST", "/api/v1/clusters", """{"name":"Bad Name"}""", 400, "name.invalid")]
    [InlineData("POST", "/api/v1/clusters", """{"name":"x","detectionMs":10}""", 400, "cluster.detection")]
    [InlineData("POST", "/api/v1/clusters", """{"name":"x","link":"none"}""", 400, "cluster.link")]
    [InlineData("POST", "/api/v1/clusters", """{"name":""", 400, "api.malformed")]
    [InlineData("POST", "/api/v1/clusters", """[]""", 400, "api.malformed")]
    [InlineData("POST", "/api/v1/clusters/none/hosts", """{"name":"a"}""", 404, "cluster.unknown")]
    [InlineData("POST", "/api/v1/clusters/none/modules", """{"name":"web","directory":"/vms/web","primary":"a"}""", 404, "cluster.unknown")]
    [InlineData("GET", "/api/v1/clusters/none", null, 404, "cluster.unknown")]
    [InlineData("GET", "/api/v1/clusters/NONE", null, 404, "cluster.unknown")]
    [InlineData("GET", "/api/v1/status?cluster=none", null, 404, "cluster.unknown")]
    [InlineData("GET", "/api/v1/clusters/none/modules/web", null, 404, "module.unknown")]
    [InlineData("DELETE", "/api/v1/clusters/none/modules/web", null, 404, "module.unknown")]
    [InlineData("POST", "/api/v1/clusters/none/modules/web/start", null, 404, "module.unknown")]
    [InlineData("POST", "/api/v1/clusters/none/modules/web/swap", null, 404, "module.unknown")]
    [InlineData("POST", "/api/v1/clusters/none/modules/web/restart", null, 404, "module.unknown")]
    [InlineData("POST", "/api/v1/clusters/none/modules/web/stopstart", null, 404, "module.unknown")]
    [InlineData("POST", "/api/v1/clusters/none/modules/web/prim", """{"host":"a"}""", 404, "module.unknown")]
    [InlineData("POST", "/api/v1/clusters/none/modules/web/full-resync", null, 404, "module.unknown")]
    [InlineData("PUT", "/api/v1/clusters/none/modules/web/policy", """{"failover":false}""", 404, "module.unknown")]
    [InlineData("GET", "/api/v1/nothing", null, 404, "api.no-such-address")]
    [InlineData("PUT", "/api/v1/status", null, 405, "api.method")]
    public async Task Wrong_input_gets_a_problem_with_a_stable_code(string method, string path, string? body, int status, string code)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (body is not null) request.Content = new StringContent(body, Encoding.UTF8, "application/json");
        using var answer = await server.Http.SendAsync(request);
        Assert.Equal((status, code), ((int)answer.StatusCode, await RunningServer.CodeAsync(answer)));
    }

    [Fact]
    public async Task A_cluster_says_how_its_link_is_secured()
    {
        foreach (var (asked, expected) in new[] { ((string?)null, "tls"), ("tls", "tls"), ("plaintext", "plaintext") })
        {
            using var answer = await server.Http.PostAsJsonAsync("/api/v1/clusters", new { name = $"link-{asked ?? "none"}", link = asked });
            Assert.Equal(expected, (await answer.Content.ReadFromJsonAsync<JsonElement>()).GetProperty("link").GetString());
        }
    }

    [Fact]
    public async Task A_module_that_a_host_refuses_is_answered_with_the_hosts_problem()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            var creation = server.Http.PostAsJsonAsync($"/api/v1/clusters/{cluster}/modules", new { name = "web", directory = "/vms/web", primary = "a" });
            var desired = await a.ReceiveAsync<DesiredState>(state => state.Modules.Length > 0);
            var missing = new ObservedProblem("module.directory-missing", "No directory", "Nothing was changed.", "/vms/web is not there.", "Make it.");
            await a.SendAsync(new ObservedState(
                desired.Version, true, [SessionClient.Observe(desired.Modules[0]) with { Preparation = new PreparationVerdict(false, missing) }]));
            using var answer = await creation;
            Assert.Equal((HttpStatusCode.Conflict, "module.directory-missing"), (answer.StatusCode, await RunningServer.CodeAsync(answer)));
            Assert.Empty((await server.StatusAsync(cluster)).GetProperty("modules").EnumerateArray());
        }
    }

    [Fact]
    public async Task A_module_of_several_directories_reaches_the_hosts_in_their_order_and_is_shown()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            var creation = server.CommandAsync(
                "module", "create", $"{cluster}/web", "--directory", "/vms/web", "--dir", "/data/web", "--dir", "/logs/web", "--primary", "a");
            foreach (var host in new[] { a, b })
            {
                var desired = await host.ReceiveAsync<DesiredState>(state => state.Modules.Length > 0);
                Assert.Equal<string>(["/vms/web", "/data/web", "/logs/web"], desired.Modules[0].Directories);
                await host.SendAsync(new ObservedState(
                    desired.Version, true, [SessionClient.Observe(desired.Modules[0]) with { Preparation = new PreparationVerdict(true, null) }]));
            }
            var (code, text, error) = await creation;
            Assert.Equal((0, ""), (code, error));
            Assert.Contains("/vms/web, /data/web, /logs/web", text, StringComparison.Ordinal);
            var module = (await server.StatusAsync(cluster)).GetProperty("modules")[0];
            Assert.Equal("/vms/web", module.GetProperty("directory").GetString());
            Assert.Equal(["/vms/web", "/data/web", "/logs/web"], module.GetProperty("directories").EnumerateArray().Select(d => d.GetString()));
            Assert.Contains("directories /vms/web, /data/web, /logs/web, created from a", (await server.CommandAsync("module", "show", $"{cluster}/web")).Output, StringComparison.Ordinal);

            using var both = await server.Http.PostAsJsonAsync(
                $"/api/v1/clusters/{cluster}/modules", new { name = "x", directory = "/a", directories = new[] { "/b", "/c" }, primary = "a" });
            Assert.Equal((HttpStatusCode.BadRequest, "api.malformed"), (both.StatusCode, await RunningServer.CodeAsync(both)));
        }
    }

    [Fact]
    public async Task Status_has_the_shape_that_scripts_rely_on()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            var record = await new SessionTests(server).CreateModuleAsync(cluster, a, b);
            var seen = await b.ReceiveAsync<DesiredState>(state => state.Modules is [{ Phase: ModulePhase.Active }]);
            await b.SendAsync(new ObservedState(seen.Version, true,
            [
                SessionClient.Observe(seen.Modules[0]) with
                {
                    Role = "SECOND", Ready = false, DataState = "Inconsistent", Code = "second.resyncing", Cause = "Resync from a.",
                    Record = record, Replication = new ObservedReplication(true, true, false, 4096, 1000, 430, 100, 2, "the peer"),
                    Problems = [new ObservedProblem("x.y", "t", "i", "c", "a")], Events = [new ModuleEvent(5, "resync.started", "Delta.", null)],
                },
            ]));
            var status = await SessionTests.UntilAsync(
                () => server.StatusAsync(cluster), s => s.GetProperty("modules")[0].GetProperty("hosts")[1].GetProperty("role").GetString() == "SECOND");
            Assert.Equal((cluster, 3000), (status.GetProperty("name").GetString(), status.GetProperty("detectionMs").GetInt32()));
            var host = status.GetProperty("hosts")[1];
            Assert.Equal(("b", true, true, "QEMU 7.2.0"), (
                host.GetProperty("name").GetString(), host.GetProperty("connected").GetBoolean(), host.GetProperty("peerReachable").GetBoolean(),
                host.GetProperty("hypervisor").GetString()));
            var module = status.GetProperty("modules")[0];
            Assert.Equal(("web", "/vms/web", false), (
                module.GetProperty("name").GetString(), module.GetProperty("directory").GetString(), module.GetProperty("run").GetBoolean()));
            Assert.Equal("a", module.GetProperty("record").GetProperty("inSync")[0].GetString());
            var onB = module.GetProperty("hosts")[1];
            Assert.Equal(("b", false, "Inconsistent", "second.resyncing"), (
                onB.GetProperty("host").GetString(), onB.GetProperty("ready").GetBoolean(), onB.GetProperty("dataState").GetString(), onB.GetProperty("code").GetString()));
            Assert.Equal(430, onB.GetProperty("replication").GetProperty("resyncDoneBytes").GetInt64());
            Assert.Equal("x.y", onB.GetProperty("problems")[0].GetProperty("code").GetString());
            Assert.Equal("resync.started", onB.GetProperty("events")[0].GetProperty("kind").GetString());

            var (code, text, _) = await server.CommandAsync("status", cluster);
            Assert.Equal(0, code);
            Assert.Contains("resync 43 % of 1000 B", text, StringComparison.Ordinal);
            Assert.Contains("second.resyncing", text, StringComparison.Ordinal);
            Assert.Contains("Waits for: the peer.", text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Watching_gives_the_status_now_and_after_each_change()
    {
        var cluster = await server.CreateClusterAsync();
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        await using var stream = await server.Http.GetStreamAsync($"/api/v1/watch?cluster={cluster}", deadline.Token);
        await using var events = SseParser.Create(stream).EnumerateAsync(deadline.Token).GetAsyncEnumerator(deadline.Token);
        Assert.True(await events.MoveNextAsync());
        Assert.Equal("status", events.Current.EventType);
        Assert.Empty(Hosts(events.Current.Data));
        await server.AddHostAsync(cluster, "a");
        Assert.True(await events.MoveNextAsync());
        Assert.Single(Hosts(events.Current.Data));
    }

    private static JsonElement[] Hosts(string data) =>
        [.. JsonSerializer.Deserialize<JsonElement>(data).GetProperty("clusters")[0].GetProperty("hosts").EnumerateArray()];
}

using System.Net.Http.Json;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Pollux.Gateway.Sessions;
using Pollux.Grains.Abstractions;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Gateway;

/// <summary>A server whose database is gone and whose authority is not, as its hosts and an operator see it.</summary>
public sealed class RecoveryTests
{
    [Fact]
    public async Task Hosts_are_trusted_again_by_their_certificates_and_bring_cluster_modules_and_record_back()
    {
        var server = new RunningServer();
        await server.InitializeAsync();
        try
        {
            var cluster = await server.CreateClusterAsync();
            using X509Certificate2 ofA = await server.JoinAsync(await server.AddHostAsync(cluster, "a")), ofB = await server.JoinAsync(await server.AddHostAsync(cluster, "b"));
            DesiredState kept;
            RecordMessage record;
            using (var a = await SessionClient.DialAsync(server, $"{cluster}/a", ofA))
            using (var b = await SessionClient.DialAsync(server, $"{cluster}/b", ofB))
            {
                await a.SayHelloAsync();
                await b.SayHelloAsync();
                record = await new SessionTests(server).CreateModuleAsync(cluster, a, b);
            }
            using (var a = await SessionClient.DialAsync(server, $"{cluster}/a", ofA))
            {
                await a.SayHelloAsync();
                kept = await a.ReceiveAsync<DesiredState>(state => state.Modules is [{ Phase: HostProtocol.ModulePhase.Active }]);
            }
            await server.StopAsync();
            Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
            foreach (var file in Directory.GetFiles(server.Data, "pollux.db*")) File.Delete(file);

            // Not declared: nobody is let in, and nobody is told to release anything.
            await server.StartAsync();
            using (var a = await SessionClient.DialAsync(server, $"{cluster}/a", ofA))
            {
                await a.SendAsync(a.Hello());
                Assert.Equal("host.unknown", await a.GoodbyeAsync());
            }
            await server.StopAsync();

            await server.StartAsync(restored: true);
            using var alone = await SessionClient.DialAsync(server, $"{cluster}/a", ofA);
            await alone.SayHelloAsync();
            await alone.TellAsync(kept, $"{cluster}/b", record with { Epoch = 4, Primary = $"{cluster}/a" });
            var asked = await Until(async () => (await server.Http.GetFromJsonAsync<JsonElement>("/api/v1/status")).GetProperty("clusters").EnumerateArray()
                .SelectMany(one => one.GetProperty("problems").EnumerateArray()).FirstOrDefault(), problem =>
                problem.ValueKind == JsonValueKind.Object && problem.GetProperty("code").GetString() == "record.unconfirmed");
            Assert.Contains($"pollux module confirm-record {cluster}/web --host a --epoch 4", asked.GetProperty("action").GetString(), StringComparison.Ordinal);
            var request = new ArbitrationRequest(Guid.NewGuid(), $"{cluster}/web", record.Incarnation, 4, "exclude", $"{cluster}/a", $"{cluster}/b", null);
            await alone.SendAsync(request);
            Assert.Equal(("unknown", null), await alone.ReceiveAsync<ArbitrationAnswer>() is var undecided ? (undecided.Outcome, undecided.Record) : default);
            var shown = await server.CommandAsync("status");
            Assert.Contains("record.unconfirmed", shown.Output, StringComparison.Ordinal);
            var wrong = await server.CommandAsync("module", "confirm-record", $"{cluster}/web", "--host", "a", "--epoch", "5");
            Assert.Equal(1, wrong.Code);
            Assert.Contains("record.not-asked", wrong.Error, StringComparison.Ordinal);
            Assert.Equal(2, (await server.CommandAsync("module", "confirm-record", $"{cluster}/web", "--forget", "--host", "a")).Code);
            var confirmed = await server.CommandAsync("module", "confirm-record", $"{cluster}/web", "--host", "a", "--epoch", "4");
            Assert.True(confirmed.Code == 0, confirmed.Error);

            var desired = await alone.ReceiveAsync<DesiredState>();
            var module = Assert.Single(desired.Modules);
            Assert.Equal((kept.Modules[0].Directory, kept.Modules[0].Vm, kept.Modules[0].SpecText), (module.Directory, module.Vm, module.SpecText));
            Assert.Equal((1004L, $"{cluster}/a", 3000L), (module.Record.Epoch, module.Record.Primary, module.DetectionMs));
            // The other one comes back by its certificate too.
            using var other = await SessionClient.DialAsync(server, $"{cluster}/b", ofB);
            await other.SayHelloAsync();
            Assert.Equal(module.Record.Incarnation, Assert.Single((await other.ReceiveAsync<DesiredState>()).Modules).Record.Incarnation);
        }
        finally
        {
            await server.DisposeAsync();
        }
    }

    /// <summary>A new member of a spec or a policy is kept by hosts without anybody thinking of it.</summary>
    [Fact]
    public void Specs_and_policies_come_back_from_a_host_as_they_were_given()
    {
        var spec = new ModuleSpec("/vms/web", "a", new VmDefinition("web", "web.xml"), new ResyncPolicy(1, 2))
        {
            FurtherDirectories = ["/logs/web"], Checkers = [new Checker("http", "tcp", "192.0.2.1:80", 10_000, 3_000, 3, 60_000, Checker.Move)],
        };
        var policy = new ClusterPolicy(2_500, 7, LinkSecurity.Plaintext);
        var order = new DesiredModule("c/web", HostProtocol.ModulePhase.Active, "/vms/web", null, "c/a", 2_500, true, new RecordMessage(Guid.Empty, 0, null, []), null)
        {
            FurtherDirectories = ["/logs/web"],
            SpecText = RecoveryMapping.ToText(spec),
        };
        var text = JsonSerializer.Serialize(new Recovered(3, "c/b", RecoveryMapping.ToText(policy), [new RecoveredModule(order, new RecordMessage(Guid.Empty, 8, "c/b", ["c/b"]) { Declared = "c/b" }, "UpToDate")]), HostProtocolJson.Default.HostMessage);
        var recovered = Assert.IsType<Recovered>(JsonSerializer.Deserialize(text, HostProtocolJson.Default.HostMessage));
        Assert.True(RecoveryMapping.IsComplete(recovered, "c"));
        Assert.False(RecoveryMapping.IsComplete(recovered, "d"));
        var memory = RecoveryMapping.ToMemory(recovered);
        Assert.Equal((policy, "b"), (memory.Policy, memory.Peer));
        var told = Assert.Single(memory.Modules).Spec;
        Assert.Equal("c/b", memory.Modules[0].Record!.Declared);
        Assert.Equal(spec.Directories.ToArray(), told.Directories.ToArray());
        Assert.Equal(spec.CheckersInForce.ToArray(), told.CheckersInForce.ToArray());
        Assert.Equal(spec with { FurtherDirectories = told.FurtherDirectories, Checkers = told.Checkers }, told);

        // An order of an earlier release has no text: what the host itself needs is there.
        var earlier = RecoveryMapping.ToMemory(recovered with { ClusterText = null, Modules = [new RecoveredModule(order with { SpecText = null, Vm = new VmSpec("web", "w.xml") }, null, "x")] });
        Assert.Equal((2_500L, "a", "w.xml"), (earlier.Policy!.DetectionMs, earlier.Modules[0].Spec.InitialHost, earlier.Modules[0].Spec.Vm!.DefinitionFile));
    }

    private static async Task<JsonElement> Until(Func<Task<JsonElement>> look, Func<JsonElement, bool> found)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        using var pause = new PeriodicTimer(TimeSpan.FromMilliseconds(50));
        while (true)
        {
            if (await look() is var seen && found(seen)) return seen;
            await pause.WaitForNextTickAsync(deadline.Token);
        }
    }
}

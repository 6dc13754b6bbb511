using System.Security.Cryptography.X509Certificates;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Gateway;

public sealed class RestartTests
{
    [Fact]
    public async Task A_restart_keeps_authority_token_hosts_modules_and_record()
    {
        var server = new RunningServer();
        await server.InitializeAsync();
        try
        {
            var cluster = await server.CreateClusterAsync();
            using var certificate = await server.JoinAsync(await server.AddHostAsync(cluster, "a"));
            using var a = await SessionClient.DialAsync(server, $"{cluster}/a", certificate);
            await a.SayHelloAsync();
            using var b = await server.ConnectAsync(cluster, "b");
            var record = await new SessionTests(server).CreateModuleAsync(cluster, a, b);
            var request = new ArbitrationRequest(Guid.NewGuid(), $"{cluster}/web", record.Incarnation, record.Epoch, "takeover", a.Host, b.Host, null);
            await a.SendAsync(request);
            var granted = await a.ReceiveAsync<ArbitrationAnswer>();
            var authority = server.Authority.Thumbprint;

            var goodbye = a.GoodbyeAsync();
            await server.StopAsync();
            Assert.Equal("server.stopping", await goodbye);
            await server.StartAsync();

            Assert.Equal(authority, server.Authority.Thumbprint);
            using var back = await SessionClient.DialAsync(server, $"{cluster}/a", certificate);
            await back.SayHelloAsync();
            var desired = await back.ReceiveAsync<DesiredState>();
            Assert.Equal((2L, a.Host), (Assert.Single(desired.Modules).Record.Epoch, desired.Modules[0].Record.Primary));
            await back.SendAsync(request);
            Assert.Equal(("granted", granted.Record!.Epoch), (await back.ReceiveAsync<ArbitrationAnswer>()) is var again ? (again.Outcome, again.Record!.Epoch) : default);
        }
        finally
        {
            await server.DisposeAsync();
        }
    }

    [Fact]
    public async Task Secrets_are_readable_by_their_owner_only()
    {
        var server = new RunningServer();
        await server.InitializeAsync();
        try
        {
            foreach (var file in new[] { "ca.key", "server.key", "operator-token" })
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(server.Data, file)));
        }
        finally
        {
            await server.DisposeAsync();
        }
    }

    [Fact]
    public void A_cluster_without_what_it_needs_is_refused_and_says_what_to_do()
    {
        var options = new Pollux.Silo.PolluxSiloOptions { Clustered = true };
        var builder = Microsoft.Extensions.Hosting.Host.CreateEmptyApplicationBuilder(null);
        var refused = Assert.Throws<Pollux.Silo.SiloConfigurationException>(() => Pollux.Silo.PolluxSilo.AddPolluxSilo(builder, options));
        Assert.Contains("pollux server", refused.Message, StringComparison.Ordinal);
    }
}

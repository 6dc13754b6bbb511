using System.Threading.Channels;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Identity;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Hosts;

public sealed class ControlLinkTests : IDisposable
{
    private readonly TestAuthority _authority = new();
    private readonly CancellationTokenSource _patience = new(TimeSpan.FromSeconds(60));
    private readonly ControlLinkOptions _quick = new() { BackoffMsMin = 10, BackoffMsMax = 20 };

    private CancellationToken Cancel => _patience.Token;

    [Fact]
    public async Task Desired_state_arrives_and_observed_state_goes_up_after_a_change()
    {
        await using var gateway = await FakeGateway.StartAsync(_authority);
        await using var host = Dial(gateway);
        var session = await gateway.NextSessionAsync(Cancel);
        var hello = await session.WelcomeAsync(Cancel);
        Assert.Equal("c1/a", hello.Host);
        await host.Link.ConnectedOnce.WaitAsync(Cancel);
        await session.ReadAsync<ObservedState>(Cancel);

        await session.SendAsync(new DesiredState(7, null, []), Cancel);
        Assert.Equal(7, (await host.Events.Desired.Reader.ReadAsync(Cancel)).Version);
        host.Events.Version = 7;
        host.Link.Changed();
        Assert.Equal(7, (await session.ReadAsync<ObservedState>(Cancel)).DesiredVersion);
    }

    [Fact]
    public async Task A_question_that_lost_its_session_is_asked_again_with_the_same_id()
    {
        await using var gateway = await FakeGateway.StartAsync(_authority);
        await using var host = Dial(gateway);
        var first = await gateway.NextSessionAsync(Cancel);
        await first.WelcomeAsync(Cancel);
        var question = Question();
        host.Link.Ask(question, 30_000);
        Assert.Equal(question, await first.ReadAsync<ArbitrationRequest>(Cancel));
        first.Break();

        var second = await gateway.NextSessionAsync(Cancel);
        await second.WelcomeAsync(Cancel);
        Assert.Equal(question, await second.ReadAsync<ArbitrationRequest>(Cancel));
        await second.SendAsync(new ArbitrationAnswer(question.OperationId, question.Module, "granted", null, "ok"), Cancel);
        var answer = await host.Events.Answers.Reader.ReadAsync(Cancel);
        Assert.Equal((question.OperationId, "granted"), (answer.OperationId, answer.Outcome));
    }

    [Fact]
    public async Task A_question_without_an_answer_becomes_unknown_once_and_a_late_answer_is_dropped()
    {
        await using var gateway = await FakeGateway.StartAsync(_authority);
        await using var host = Dial(gateway);
        var session = await gateway.NextSessionAsync(Cancel);
        await session.WelcomeAsync(Cancel);
        var late = Question();
        host.Link.Ask(late, 100);
        await session.ReadAsync<ArbitrationRequest>(Cancel);
        Assert.Equal("unknown", (await host.Events.Answers.Reader.ReadAsync(Cancel)).Outcome);

        await session.SendAsync(new ArbitrationAnswer(late.OperationId, late.Module, "granted", null, "late"), Cancel);
        var next = Question();
        host.Link.Ask(next, 30_000);
        await session.ReadAsync<ArbitrationRequest>(Cancel);
        await session.SendAsync(new ArbitrationAnswer(next.OperationId, next.Module, "refused", null, "no"), Cancel);
        Assert.Equal(next.OperationId, (await host.Events.Answers.Reader.ReadAsync(Cancel)).OperationId);
    }

    [Fact]
    public async Task Without_a_server_a_question_becomes_unknown_and_the_reason_is_visible()
    {
        await using var host = Dial(_authority.Host("c1/a", new Uri("https://localhost:9")));
        host.Link.Ask(Question(), 300);
        Assert.Equal("unknown", (await host.Events.Answers.Reader.ReadAsync(Cancel)).Outcome);
        Assert.Contains("no session with https://localhost:9", host.Link.Status);
    }

    [Fact]
    public async Task More_questions_than_the_limit_are_unknown_at_once()
    {
        await using var host = Dial(_authority.Host("c1/a", new Uri("https://localhost:9")), _quick with { QuestionsMax = 1 });
        host.Link.Ask(Question(), 60_000);
        var tooMany = Question();
        host.Link.Ask(tooMany, 60_000);
        Assert.Equal(tooMany.OperationId, (await host.Events.Answers.Reader.ReadAsync(Cancel)).OperationId);
    }

    [Fact]
    public async Task What_a_restored_control_plane_asks_for_is_told_in_its_session()
    {
        await using var gateway = await FakeGateway.StartAsync(_authority);
        await using var host = Dial(gateway);
        var session = await gateway.NextSessionAsync(Cancel);
        await session.WelcomeAsync(Cancel);
        await session.SendAsync(new Recover(7), Cancel);
        var question = await host.Events.Recovers.Reader.ReadAsync(Cancel);
        host.Link.Tell(new Recovered(question.Generation, "c1/b", "policy", []));
        var told = await session.ReadAsync<Recovered>(Cancel);
        Assert.Equal((7, "c1/b", "policy"), (told.Generation, told.Peer, told.ClusterText));
    }

    [Theory]
    [InlineData("this is not JSON", "not of protocol")]
    [InlineData("""{"type":"martian"}""", "not of protocol")]
    [InlineData("""{"type":"goodbye","code":"host.unknown","reason":"nobody knows you"}""", "nobody knows you")]
    public async Task A_message_that_cannot_be_understood_ends_the_session_with_a_visible_reason(string text, string reason)
    {
        await using var gateway = await FakeGateway.StartAsync(_authority);
        await using var host = Dial(gateway);
        var session = await gateway.NextSessionAsync(Cancel);
        await session.WelcomeAsync(Cancel);
        await session.SendTextAsync(text, Cancel);
        await session.SeeItEndAsync(Cancel);
        await gateway.NextSessionAsync(Cancel);
        Assert.Contains(reason, host.Link.Status);
    }

    [Fact]
    public async Task A_message_over_the_size_limit_ends_the_session()
    {
        await using var gateway = await FakeGateway.StartAsync(_authority);
        await using var host = Dial(gateway);
        var session = await gateway.NextSessionAsync(Cancel);
        await session.WelcomeAsync(Cancel);
        await session.SendTextAsync(new string(' ', HostProtocolLimits.MessageBytesMax + 1), Cancel);
        await session.SeeItEndAsync(Cancel);
        await gateway.NextSessionAsync(Cancel);
        Assert.Contains("over the limit", host.Link.Status);
    }

    [Fact]
    public async Task A_server_of_another_protocol_version_is_left_with_the_reason()
    {
        await using var gateway = await FakeGateway.StartAsync(_authority);
        await using var host = Dial(gateway);
        var session = await gateway.NextSessionAsync(Cancel);
        await session.ReadAsync<HostHello>(Cancel);
        await session.SendAsync(new Welcome(HostProtocolLimits.Version + 1, "c1/a", "c1"), Cancel);
        await session.SeeItEndAsync(Cancel);
        await gateway.NextSessionAsync(Cancel);
        Assert.Contains($"protocol {HostProtocolLimits.Version + 1}", host.Link.Status);
        Assert.False(host.Link.ConnectedOnce.IsCompleted);
    }

    [Fact]
    public async Task A_server_of_another_authority_is_not_spoken_to()
    {
        using var stranger = new TestAuthority();
        await using var gateway = await FakeGateway.StartAsync(stranger);
        await using var host = Dial(_authority.Host("c1/a", gateway.Address));
        host.Link.Ask(Question(), 1_000);
        await host.Events.Answers.Reader.ReadAsync(Cancel);
        Assert.Contains("TLS failed", host.Link.Status);
    }

    [Fact]
    public void The_desired_state_survives_in_the_cache_and_damage_is_not_an_answer()
    {
        var directory = Directory.CreateTempSubdirectory("pollux-desired-").FullName;
        try
        {
            Assert.Null(new DesiredStateCache(directory).Load());
            new DesiredStateCache(directory).Save(new DesiredState(3, new PeerHost("c1/b", "10.0.0.2:7410", null), []));
            Assert.Equal(("c1/b", 3L), (new DesiredStateCache(directory).Load()!.Peer!.Host, new DesiredStateCache(directory).Load()!.Version));
            File.WriteAllText(Path.Combine(directory, "desired"), "{");
            Assert.Null(new DesiredStateCache(directory).Load());
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    public void Dispose()
    {
        _authority.Dispose();
        _patience.Dispose();
    }

    private static ArbitrationRequest Question() =>
        new(Guid.NewGuid(), "c1/vm", Guid.NewGuid(), 4, "takeover", "c1/a", "c1/b", null);

    private Dialled Dial(FakeGateway gateway) => Dial(_authority.Host("c1/a", gateway.Address));

    private Dialled Dial(HostIdentity identity, ControlLinkOptions? options = null)
    {
        var events = new Events();
        var hello = new HostHello(HostProtocolLimits.Version, identity.Host, Guid.NewGuid(), "test", "127.0.0.1:1", "127.0.0.1:2", new HostCapacity(1, 1, null));
        var link = new ControlLink(identity, new HostTls(identity), () => hello, events, options ?? _quick);
        link.Start();
        return new Dialled(link, events, identity);
    }

    private sealed record Dialled(ControlLink Link, Events Events, HostIdentity Identity) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            await Link.DisposeAsync();
            Identity.Dispose();
        }
    }

    private sealed class Events : IControlEvents
    {
        public Channel<DesiredState> Desired { get; } = Channel.CreateUnbounded<DesiredState>();

        public Channel<ArbitrationAnswer> Answers { get; } = Channel.CreateUnbounded<ArbitrationAnswer>();

        public long Version { get; set; }

        public void Connected()
        {
        }

        public void DesiredChanged(DesiredState desired) => Desired.Writer.TryWrite(desired);

        public void Arbitrated(ArbitrationAnswer answer) => Answers.Writer.TryWrite(answer);

        public Channel<Recover> Recovers { get; } = Channel.CreateUnbounded<Recover>();

        public void RecoverAsked(Recover question) => Recovers.Writer.TryWrite(question);

        public ObservedState Observe() => new(Version, false, []);
    }
}

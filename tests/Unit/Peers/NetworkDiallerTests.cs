using System.Net;
using System.Net.Sockets;
using Pollux.DataPlane.Peers;

namespace Pollux.Tests.Unit.Peers;

public sealed class NetworkDiallerTests
{
    private readonly List<string> _dialled = [];
    private readonly Dictionary<string, Func<CancellationToken, Task<Socket>>> _answers = [];

    [Fact]
    public async Task The_first_that_answers_is_taken_and_no_other_is_dialled()
    {
        Answers("10.0.0.2");
        var (socket, network) = await DialAsync((1, "10.0.0.2:7411"), (2, "10.0.1.2:7411"));
        socket.Dispose();
        Assert.Equal(1, network);
        Assert.Equal(["10.0.0.2:7411"], _dialled);
    }

    [Fact]
    public async Task One_that_refuses_is_followed_by_the_next_at_once()
    {
        Fails("10.0.0.2", SocketError.ConnectionRefused);
        Answers("10.0.1.2");
        var (socket, network) = await DialAsync((1, "10.0.0.2:7411"), (2, "10.0.1.2:7411"));
        socket.Dispose();
        Assert.Equal(2, network);
    }

    [Fact]
    public async Task One_that_is_silent_gets_company_and_is_given_up_when_another_answers()
    {
        var givenUp = new TaskCompletionSource();
        _answers["10.0.0.2"] = async cancel =>
        {
            try
            {
                await Task.Delay(Timeout.Infinite, cancel);
            }
            finally
            {
                givenUp.SetResult();
            }

            throw new InvalidOperationException("unreachable");
        };
        Answers("10.0.1.2");
        var (socket, network) = await DialAsync((1, "10.0.0.2:7411"), (2, "10.0.1.2:7411"));
        socket.Dispose();
        Assert.Equal(2, network);
        await givenUp.Task.WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task If_one_refused_that_is_the_reason()
    {
        Fails("10.0.0.2", SocketError.ConnectionRefused);
        Fails("10.0.1.2", SocketError.NetworkUnreachable);
        var fault = await Assert.ThrowsAsync<SocketException>(() => DialAsync((1, "10.0.0.2:7411"), (2, "10.0.1.2:7411")));
        Assert.Equal(SocketError.ConnectionRefused, fault.SocketErrorCode);
    }

    [Fact]
    public async Task A_deadline_ends_it()
    {
        _answers["10.0.0.2"] = async cancel =>
        {
            await Task.Delay(Timeout.Infinite, cancel);
            throw new InvalidOperationException("unreachable");
        };
        using var deadline = new CancellationTokenSource(50);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => NetworkDialler.ConnectAsync([(1, "10.0.0.2:7411")], ConnectAsync, deadline.Token));
    }

    private void Answers(string address) => _answers[address] = static _ => Task.FromResult(new Socket(SocketType.Stream, ProtocolType.Tcp));

    private void Fails(string address, SocketError error) => _answers[address] = _ => Task.FromException<Socket>(new SocketException((int)error));

    private Task<(Socket Socket, int Network)> DialAsync(params (int, string)[] networks) =>
        NetworkDialler.ConnectAsync(networks, ConnectAsync, CancellationToken.None);

    private Task<Socket> ConnectAsync(EndPoint peer, CancellationToken cancel)
    {
        _dialled.Add(peer.ToString()!);
        return _answers[((IPEndPoint)peer).Address.ToString()](cancel);
    }
}

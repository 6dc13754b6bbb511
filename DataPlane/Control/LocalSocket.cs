using System.Net.Sockets;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Control;

/// <summary>Answers whoever connects to a Unix socket, and closes: a host can be looked at and told some things without a control plane. The
/// question is one JSON document up to the end of what the client sends; none asks for the status. Only root may connect.</summary>
public sealed class LocalSocket : IAsyncDisposable
{
    /// <summary>A question names a module and some numbers.</summary>
    private const int QuestionBytesMax = 16 * 1024;
    private const int WaitingMax = 8;
    private static readonly TimeSpan ExchangeMax = TimeSpan.FromSeconds(2);

    private readonly Socket _listener;
    private readonly Func<ReadOnlyMemory<byte>, Task<byte[]>> _answer;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;

    /// <param name="answer">To a question as it came; it may be anything.</param>
    /// <exception cref="SocketException">The path cannot be bound.</exception>
    public LocalSocket(string path, Func<ReadOnlyMemory<byte>, Task<byte[]>> answer)
    {
        _answer = answer;
        File.Delete(path);
        _listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        _listener.Bind(new UnixDomainSocketEndPoint(path));
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        _listener.Listen(WaitingMax);
        _loop = Task.Run(RunAsync);
    }

    /// <summary>Asks the host that listens on the path.</summary>
    /// <exception cref="SocketException">None does.</exception>
    public static async Task<byte[]> AskAsync(string path, ReadOnlyMemory<byte> question, CancellationToken cancel)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancel).ConfigureAwait(false);
        while (question.Length > 0)
            question = question[await socket.SendAsync(question, cancel).ConfigureAwait(false)..];
        // Before the end of the question is told: after that .NET no longer takes the socket for connected.
        using var stream = new NetworkStream(socket);
        socket.Shutdown(SocketShutdown.Send);
        using var answer = new MemoryStream();
        await stream.CopyToAsync(answer, cancel).ConfigureAwait(false);
        return answer.ToArray();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _loop.ConfigureAwait(false);
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                using var client = await _listener.AcceptAsync(_stop.Token).ConfigureAwait(false);
                var question = await ReceiveAsync(client).ConfigureAwait(false);
                ReadOnlyMemory<byte> rest = await _answer(question).ConfigureAwait(false);
                using var deadline = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                deadline.CancelAfter(ExchangeMax);
                while (rest.Length > 0)
                    rest = rest[await client.SendAsync(rest, deadline.Token).ConfigureAwait(false)..];
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                if (!_stop.IsCancellationRequested)
                    HostLog.Warn("status", "somebody asked and did not end the question or read the answer", ("reason", e.Message));
            }
        }
    }

    private async Task<ReadOnlyMemory<byte>> ReceiveAsync(Socket client)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        deadline.CancelAfter(ExchangeMax);
        var question = new byte[QuestionBytesMax];
        var length = 0;
        while (length < question.Length)
        {
            var count = await client.ReceiveAsync(question.AsMemory(length), deadline.Token).ConfigureAwait(false);
            if (count == 0)
                break;
            length += count;
        }
        return question.AsMemory(0, length);
    }
}

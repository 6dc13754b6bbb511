using System.Buffers;
using System.Net.WebSockets;
using System.Text.Json;
using Pollux.HostProtocol;

namespace Pollux.Gateway.Sessions;

/// <summary>Reads one message at a time, of at most <see cref="HostProtocolLimits.MessageBytesMax"/>.</summary>
internal sealed class HostMessageReader(WebSocket socket) : IDisposable
{
    private const int FirstBufferBytes = 16 * 1024;

    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(FirstBufferBytes);

    /// <returns>A message, a reason to end the session, or neither if the host closed it.</returns>
    /// <exception cref="WebSocketException">The connection broke.</exception>
    public async Task<(HostMessage? Message, Goodbye? End)> ReadAsync(CancellationToken cancel)
    {
        var length = 0;
        while (true)
        {
            if (length == _buffer.Length) Grow();
            var part = await socket.ReceiveAsync(_buffer.AsMemory(length), cancel);
            if (part.MessageType == WebSocketMessageType.Close) return (null, null);
            if (part.MessageType != WebSocketMessageType.Text) return (null, SessionProblems.Malformed);
            length += part.Count;
            if (length > HostProtocolLimits.MessageBytesMax) return (null, SessionProblems.TooLarge);
            if (part.EndOfMessage) return Parse(_buffer.AsSpan(0, length));
        }
    }

    /// <summary>Passes over everything up to the host's close.</summary>
    public async Task SkipToCloseAsync(CancellationToken cancel)
    {
        while (socket.State is WebSocketState.Open or WebSocketState.CloseSent)
            if ((await socket.ReceiveAsync(_buffer.AsMemory(), cancel)).MessageType == WebSocketMessageType.Close) return;
    }

    public void Dispose()
    {
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
    }

    private static (HostMessage?, Goodbye?) Parse(ReadOnlySpan<byte> json)
    {
        try
        {
            return JsonSerializer.Deserialize(json, HostProtocolJson.Default.HostMessage) is { } message
                ? (message, null)
                : (null, SessionProblems.Malformed);
        }
        catch (Exception e) when (e is JsonException or NotSupportedException)
        {
            // NotSupportedException: the type discriminator is missing.
            return (null, SessionProblems.MalformedBecause(e.Message));
        }
    }

    private void Grow()
    {
        var larger = ArrayPool<byte>.Shared.Rent(Math.Min(_buffer.Length * 2, HostProtocolLimits.MessageBytesMax + 1));
        _buffer.CopyTo(larger.AsSpan());
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = larger;
    }
}

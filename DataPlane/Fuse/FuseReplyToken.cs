namespace Pollux.DataPlane.Fuse;

/// <summary>What a completion keeps to answer a request later, from any thread.</summary>
/// <param name="Unique">The request's number.</param>
/// <param name="Device">Index of the descriptor that read the request: the kernel finds a request only in the queue of that
/// descriptor, so the reply must go there.</param>
public readonly record struct FuseReplyToken(ulong Unique, int Device);
